package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a batch, if Options don't say.
const (
	DefaultMaxBody  = 8 << 20
	DefaultMaxBatch = 1000
)

// maxResults bounds the results that a batch's or a group's answers carry, in bytes.
// Repeats past it are answered without theirs.
const maxResults = 4 << 20

// postBatch takes an array of events: one transaction, one answer with an entry for
// each, in order,
//
//	{"results": […], "accepted": n, "duplicates": n, "refused": n}
//
// It is 200 however many were refused. Where the array itself is broken, or has too
// many events, nothing of it is taken: 400, 413. Where the storage takes no
// event now, it is one problem.
func (g *ingestion) postBatch(x *exchange, r *http.Request, tok *token, cloud bool, body []byte) error {
	if err := noIdempotencyKey(r.Header); err != nil {
		return err
	}
	t := g.newIngester(x, r, tok)
	t.cloud = cloud
	raws, err := g.split(body)
	if err != nil {
		return err
	}
	items := make([]item, len(raws))
	for i, raw := range raws {
		items[i] = t.item(raw)
	}
	ctx := context.WithoutCancel(r.Context()) // as in accept
	answers, err := t.take(ctx, items)
	x.body.release()
	if err != nil {
		p := storeProblem(err)
		for range len(items) - 1 { // the answer counts as one
			g.observer.Offered(p.result())
		}
		return p
	}
	x.offers = false
	if x.hold(sizeOfAnswers(answers)) != nil {
		return overloaded.withDetail("what could be taken is stored, and too many answers are waiting to be read: send the same again later")
	}
	w := newAnswerWriter(x)
	w.text(`{"results":[`)
	results := 0
	for i := range answers {
		size := t.complete(ctx, &answers[i], &results)
		t.count(x, &answers[i])
		if i > 0 {
			w.text(",")
		}
		w.answer(&answers[i])
		answers[i] = answer{}
		x.answers.release(size)
	}
	w.text(`],"accepted":`)
	w.buf = strconv.AppendInt(w.buf, int64(x.tally.accepted), 10)
	w.text(`,"duplicates":`)
	w.buf = strconv.AppendInt(w.buf, int64(x.tally.duplicates), 10)
	w.text(`,"refused":`)
	w.buf = strconv.AppendInt(w.buf, int64(x.tally.refused), 10)
	w.text("}\n")
	w.end()
	return nil
}

// split finds the elements of the array. What is wrong within one is for its own
// answer, so only what hides where it ends is an error here.
func (g *ingestion) split(body []byte) ([][]byte, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if kind := d.PeekKind(); kind != '[' && kind != jsontext.KindInvalid {
		return nil, field("", "must be an array of events, not %s", kindName(kind))
	}
	if _, err := d.ReadToken(); err != nil {
		if err == io.EOF {
			return nil, field("", "is empty: send an array of events")
		}
		return nil, syntaxProblem("", err)
	}
	var raws [][]byte
	for d.PeekKind() != ']' {
		raw, err := d.ReadValue()
		if err != nil {
			return nil, syntaxProblem("", err)
		}
		if len(raws) == g.maxBatch {
			return nil, tooLarge.withDetail("a batch may have %d events: send fewer, or application/x-ndjson", g.maxBatch)
		}
		end := int(d.InputOffset())
		raws = append(raws, body[end-len(raw):end]) // raw itself is the decoder's
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, syntaxProblem("", err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, field("", "goes on after the array (at byte %d): send one array", d.InputOffset())
	}
	return raws, nil
}
