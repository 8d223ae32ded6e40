package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// linesPatience is how long a group of lines waits for the storage to have room
	// before it is refused: proxies on the way don't wait longer.
	linesPatience = 30 * time.Second
	// maxAnswers is about the length of what is written at once, in bytes: clients of
	// a WebSocket bound what they read, some at 32 KiB.
	maxAnswers = 16 << 10
)

// postLines takes NDJSON of any length: an event a line, an answer a line, in order,
// while it is read. Lines that came while the last group was written are the next
// one, so that no line waits for a group to fill. Empty lines are no events. n counts the
// others from 1. With ?answers=refused only lines that were refused are answered, and a
// summary is the last line.
//
// The status is 200 before anything is known of most lines, so whatever ends the
// reading (a time-out, shutdown, a body that is cut) is the answer of the line that
// did not come. A client may send all before it reads: its answers wait in a spool. Where
// they are more than that holds, the last one says so.
func (g *ingestion) postLines(x *exchange, r *http.Request, tok *token) error {
	if err := noIdempotencyKey(r.Header); err != nil {
		return err
	}
	t := g.newIngester(x, r, tok)
	t.patience = linesPatience
	if err := g.streams.enter(); err != nil {
		return err
	}
	defer g.streams.leave()

	rc := http.NewResponseController(x)
	_ = rc.EnableFullDuplex() // HTTP/2 needs none
	in := newFrameQueue(g.streams)
	body := &linesBody{Reader: x.body.ReadCloser, rc: rc}
	// A client that has ended its half of the connection still reads: that must not end this.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	out := newLineWriter(x, r, rc, body, g.spools.open(), cancel)
	out.refusedOnly = x.query["answers"] == "refused"
	handled, read, watched := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var unread atomic.Bool
	go func() {
		defer close(read)
		defer in.end()
		g.readLines(ctx, body, in)
		if unread.Load() { // until then such a client reads nothing
			_, _ = io.Copy(io.Discard, body)
		}
	}()
	go func() {
		defer close(watched)
		select {
		case <-g.stopping:
		case <-handled:
		case <-read:
			return
		}
		body.cut()
	}()
	err := t.answerLines(ctx, x, r, in, out)
	var last *problem
	if errors.Is(err, errUnread) {
		unread.Store(true)
		last = overloaded.withDetail("this line and those after it are not answered, because the answers before it are not read: resend from here, and read answers while you send, ask for ?answers=refused, or send fewer lines in one request")
		in.stop()
		<-read
	}
	in.stop()
	close(handled) // net/http must not have the body back before its reader has ended
	<-watched
	<-read
	out.end(last)
	return nil
}

// answerLines answers groups until there are no more. It returns errUnread or errGone where
// an answer has nowhere to go.
func (t *ingester) answerLines(ctx context.Context, x *exchange, r *http.Request, in *frameQueue, out *lineWriter) error {
	for g := new(group); in.take(g); {
		// A token that was taken back is good for no further line.
		tok, denied := t.authorize(x, r, scopeIngest)
		if t.token = tok; denied != nil {
			for i := range g.raws {
				g.raws[i].problem = asProblem(denied)
			}
		}
		items := t.items(g)
		answers, err := t.take(ctx, items)
		if err != nil {
			t.refuseOpen(items, answers, err)
			t.patience = 0
		}
		results := 0
		for i := range answers {
			if out.spool.behind() { // such a client would only fill the disk with them
				results = maxResults
			}
			size := t.complete(ctx, &answers[i], &results)
			t.count(x, &answers[i])
			err := out.line(&answers[i])
			answers[i] = answer{}   // its result may be large
			x.answers.release(size) // it is in the spool
			if err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
	}
	return nil
}

// items decodes a group.
func (t *ingester) items(g *group) []item {
	items := make([]item, 0, len(g.raws))
	g.each(func(body []byte, p *problem) {
		if p != nil {
			items = append(items, item{problem: p, unread: p.kind != tooLarge})
			return
		}
		items = append(items, t.item(body))
	})
	return items
}
