package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"inturn/db"
	"inturn/functions"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// item is one event of many: of a batch, a line, a frame.
type item struct {
	event   functions.Event
	account string   // "" where it can't be read
	problem *problem // why it is refused before the storage is asked, or nil
	unread  bool     // no event: problem says why the reading ended
}

// answer is what is said about an item.
type answer struct {
	clientID, messageID string // as far as they were read
	receipt             db.Receipt
	problem             *problem // nil: the receipt is the answer
	open                bool     // neither: it isn't decided yet
	omitted             bool     // the receipt's result is left out
}

// tally counts answers for the summary of a batch and for the log.
type tally struct{ accepted, duplicates, refused int }

func (t *tally) add(n *answer) {
	switch {
	case n.problem != nil:
		t.refused++
	case n.receipt.Duplicate:
		t.duplicates++
	default:
		t.accepted++
	}
}

// item decodes and checks one event of many.
func (t *ingester) item(raw []byte) item {
	it, err := t.decode(raw)
	if err != nil {
		it.event.ClientID, it.event.MessageID = identityIn(raw, t.cloud)
		it.account = it.event.ClientID
		it.problem = asProblem(err)
		return it
	}
	it.account = it.event.ClientID
	return it
}

func (t *ingester) decode(raw []byte) (it item, err error) {
	if int64(len(raw)) > t.maxEvent {
		return it, tooLarge.withDetail("an event may have %d bytes: send less in one event", t.maxEvent)
	}
	e := newEnvelope()
	defer e.free()
	e.body.Write(raw)
	if t.cloud {
		var c cloudEvent
		defer func() { err = c.named(err) }()
		if err := e.cloudEvent(&c); err != nil {
			return it, err
		}
		it.event, err = c.event(t.trace)
	} else {
		it.event, err = e.event("")
		it.event.Attrs = t.trace
	}
	if err != nil {
		return it, err
	}
	if err := t.token.authorizeClient(it.event.ClientID); err != nil {
		return it, err
	}
	if it.event, err = t.functions.Check(it.event); err != nil {
		return it, eventProblem(err)
	}
	it.event.RequestID = t.requestID
	return it, nil
}

// resultRoom is what the read of a result is given before its size is known, in bytes: it is
// there once as it was read, and once in the line or frame that is made of it.
const resultRoom = 2 * db.MaxOutput

// complete gives the answer about a repeat its state and result. A result that there is no
// room for, in what may be answered at once or in all answers together, is left out: GET
// has it. size is what it reserved for the result, to be released once it is written; sum
// counts the results that are answered at once.
func (t *ingester) complete(ctx context.Context, a *answer, sum *int) (size int) {
	r := &a.receipt
	if a.problem != nil || !r.Duplicate {
		return 0
	}
	room := *sum+db.MaxOutput <= maxResults && t.front.answers.reserve(resultRoom)
	err := t.front.answers.one(ctx, func() (err error) {
		if !room {
			if r.State, err = t.store.State(ctx, r.Seq); err == nil && r.State != db.Pending && r.State != db.Scheduled {
				a.omitted, r.Result = true, &db.Result{Status: r.State}
			}
			return err
		}
		if r.Result, err = t.store.Result(ctx, r.Seq); err != nil {
			return err
		}
		if r.Result != nil {
			r.State, size = r.Result.Status, 2*r.Result.Size()
			return nil
		}
		r.State, err = t.store.State(ctx, r.Seq)
		return err
	})
	if err != nil {
		a.problem = storeProblem(err)
	}
	if room {
		t.front.answers.release(resultRoom - size)
	}
	*sum += size / 2
	return size
}

// appendAnswer gives an answer as one of many. n is its number where it has one, 0
// for none.
func appendAnswer(b []byte, n int, a *answer) []byte {
	b = append(b, '{')
	if n > 0 {
		b = append(b, `"n":`...)
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, ',')
	}
	if a.problem != nil {
		return a.problem.appendTo(b, a.clientID, a.messageID)
	}
	r := &a.receipt
	status := http.StatusAccepted
	if r.Result != nil {
		status = http.StatusOK
	}
	b = append(b, `"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ',')
	b = append(b, appendIdentity(nil, r.ClientID, r.MessageID, r.Seq, r.State)[1:]...)
	b = append(b, `,"duplicate":`...)
	b = strconv.AppendBool(b, r.Duplicate)
	switch {
	case a.omitted:
		b = append(b, `,"result_omitted":true`...)
	case r.Result != nil:
		b = appendResult(slices.Grow(b, r.Result.Size()+64), r.Result) // which may be large
	}
	return append(b, '}')
}

// answer adds an answer as one of many. A large result of it is not copied.
func (w *answerWriter) answer(a *answer) {
	r := a.receipt.Result
	if r == nil || a.omitted || len(r.Output) < answerChunk {
		w.buf = appendAnswer(w.buf, 0, a)
		w.spill()
		return
	}
	short := *r
	short.Output = nil
	a.receipt.Result = &short
	w.buf = appendAnswer(w.buf, 0, a)
	w.buf = w.buf[:len(w.buf)-len("null}")]
	w.append(r.Output)
	w.text("}")
}

// sizeOfAnswers is what the texts of answers take beside their receipts, in bytes.
func sizeOfAnswers(answers []answer) (n int) {
	for i := range answers {
		if p := answers[i].problem; p != nil {
			n += len(p.detail)
			for _, f := range p.fields {
				n += len(f.Detail) + len(f.Pointer)
			}
		}
	}
	return n
}

// appendTo gives a problem as one of many answers, in an object that is open. What
// is a header else is retry_after here.
func (p *problem) appendTo(b []byte, clientID, messageID string) []byte {
	text, err := jsonv2.Marshal(struct {
		Status     int            `json:"status"`
		ClientID   string         `json:"client_id,omitempty"`
		MessageID  string         `json:"message_id,omitempty"`
		Type       string         `json:"type"`
		Title      string         `json:"title"`
		Detail     string         `json:"detail,omitempty"`
		Seq        int64          `json:"seq,omitzero"`
		RetryAfter int            `json:"retry_after,omitzero"`
		Errors     []fieldProblem `json:"errors,omitempty"`
	}{p.status, cut(clientID, functions.MaxID), cut(messageID, functions.MaxID), "urn:inturn:problem:" + p.name, p.title, p.detail, p.seq, p.retryAfter, p.fields},
		jsontext.AllowInvalidUTF8(true))
	if err != nil { // strings and numbers only: can't happen
		return append(b, `"status":500}`...)
	}
	return append(b, text[1:]...)
}
