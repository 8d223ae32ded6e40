package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"inturn/db"
)

// Bounds of a page of events.
const (
	defaultPage  = 100
	maxPage      = 1000
	maxPageBytes = 4 << 20 // of JSON, after which a page ends early
	pageStep     = 100     // events read at once, or
	// pageStepBytes of events and the one that fills it: a page holds no more in memory.
	pageStepBytes = 128 << 10
)

// pageTimeout bounds the reads of a page, so that it is refused before the server's
// write time-out cuts it off. Each read has a bound of its own in the storage.
const pageTimeout = writeTimeout / 2

// getEvent is GET /v1/events/{client_id}/{message_id}.
func (q *queries) getEvent(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	x.clientID, x.messageID = r.PathValue("client_id"), r.PathValue("message_id")
	if err := tok.authorizeClient(x.clientID); err != nil {
		return err
	}
	var ev db.StoredEvent
	var kept attempts
	err = x.answers.one(r.Context(), func() (err error) {
		if ev, err = q.store.Find(r.Context(), x.clientID, x.messageID); err != nil {
			return err
		}
		if kept, err = q.attempts(r.Context(), ev.Seq); err != nil {
			return err
		}
		return x.hold(ev.Size())
	})
	if err != nil {
		return readProblem(r.Context(), err)
	}
	x.seq = ev.Seq
	w := newAnswerWriter(x)
	w.openEvent(&ev)
	w.attempts(&kept)
	w.text("}\n")
	w.end()
	return nil
}

// listEvents is GET /v1/events: a page of events in seq order, or with order=desc the newest
// first,
//
//	{"events": […], "next": seq}
//
// next, if present, is `after` for the page that follows, which may be empty. A
// page may end before limit where events are large.
func (q *queries) listEvents(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	filter, err := eventFilter(x.query)
	if err != nil {
		return err
	}
	x.clientID = filter.ClientID
	if err := tok.authorizeClient(filter.ClientID); err != nil {
		return err
	}
	return q.pageOfEvents(x, r, "events", filter.Limit, func(ctx context.Context, after int64, limit, bytes int) ([]db.StoredEvent, error) {
		filter.After, filter.Limit, filter.MaxBytes = cmp.Or(after, filter.After), limit, bytes
		return q.store.Events(ctx, filter)
	})
}

// pageOfEvents answers with a page of up to limit events, under name. read returns
// those that follow the one with the seq after (0: none was read yet), and ends with the one
// by which they have so many bytes.
func (q *queries) pageOfEvents(x *exchange, r *http.Request, name string, limit int, read func(ctx context.Context, after int64, limit, bytes int) ([]db.StoredEvent, error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	w := newAnswerWriter(x)
	w.text(`{"` + name + `":[`)
	more, after := true, int64(0)
	for left := limit; left > 0 && more && w.size < maxPageBytes && w.err == nil; {
		step := min(left, pageStep)
		var events []db.StoredEvent
		size := 0
		err := x.answers.list(ctx, func() (err error) {
			if events, err = read(ctx, after, step, pageStepBytes); err != nil {
				return err
			}
			size = sizeOf(events)
			return x.hold(size)
		})
		if err != nil {
			if left == limit {
				return readProblem(ctx, err)
			}
			break // the page ends here: the next one says why
		}
		for i := range events {
			if left < limit || i > 0 {
				w.text(",")
			}
			w.event(&events[i])
			after = events[i].Seq
		}
		left -= len(events)
		more = len(events) == step || size >= pageStepBytes
	}
	w.text("]")
	if more {
		w.text(`,"next":`)
		w.buf = strconv.AppendInt(w.buf, after, 10)
	}
	w.text("}\n")
	w.end()
	return nil
}

func sizeOf(events []db.StoredEvent) (n int) {
	for i := range events {
		n += events[i].Size()
	}
	return n
}

// readProblem is storeProblem for reads, where a context's end leaves nothing open.
// A statement that was interrupted by it may say so in words of its own.
func readProblem(ctx context.Context, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return overloaded.withDetail("the answer took too long: ask again").withCause(err)
	}
	return storeProblem(err)
}

// event adds an event as it is in the file. Times are RFC 3339 in UTC, to the microsecond;
// what is not known yet is left out.
func (w *answerWriter) event(ev *db.StoredEvent) {
	w.openEvent(ev)
	w.text("}")
	w.spill()
}

// openEvent adds an event without the end of its object.
func (w *answerWriter) openEvent(ev *db.StoredEvent) {
	w.buf = appendIdentity(w.buf, ev.ClientID, ev.MessageID, ev.Seq, ev.State)
	w.text(`,"type":`)
	w.buf = appendText(w.buf, ev.Type)
	w.text(`,"payload":`)
	w.append(ev.Payload)
	if len(ev.Attrs) > 0 {
		w.text(`,"attrs":`)
		w.append(ev.Attrs)
	}
	w.text(`,"request_id":`)
	w.buf = appendText(w.buf, ev.RequestID)
	w.buf = appendTime(w.buf, "received_at", ev.ReceivedAt)
	if !ev.DeliverAt.IsZero() {
		w.buf = appendTime(w.buf, "deliver_at", ev.DeliverAt)
	}
	if r := ev.Result; r != nil {
		w.run(r)
	}
}

// run adds how one run of an event ended.
func (w *answerWriter) run(r *db.Result) {
	w.text(`,"run":`)
	w.buf = strconv.AppendInt(w.buf, r.Run, 10)
	w.text(`,"attempts":`)
	w.buf = strconv.AppendInt(w.buf, int64(r.Attempts), 10)
	w.buf = appendTime(w.buf, "started_at", r.StartedAt)
	w.buf = appendTime(w.buf, "finished_at", r.FinishedAt)
	w.result(r)
}

// result adds how an event ended, as appendResult does.
func (w *answerWriter) result(r *db.Result) {
	if r.Status == db.Done && len(r.Output) >= answerChunk {
		w.text(`,"result":`)
		w.append(r.Output)
		return
	}
	w.buf = appendResult(w.buf, r)
}

func appendTime(b []byte, name string, t time.Time) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	return append(b, '"')
}
