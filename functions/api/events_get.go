package api

import (
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
	pageStep     = 32      // events read at once; so at most this many large ones over maxPageBytes
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
	ev, err := q.store.Find(r.Context(), x.clientID, x.messageID)
	if err != nil {
		return readProblem(r.Context(), err)
	}
	x.seq = ev.Seq
	x.answer(http.StatusOK, jsonType, append(appendEvent(nil, ev), '\n'))
	return nil
}

// listEvents is GET /v1/events: a page of events in seq order,
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
	return q.pageOfEvents(x, r, "events", filter.Limit, func(ctx context.Context, after int64, limit int) ([]db.StoredEvent, error) {
		filter.After, filter.Limit = max(after, filter.After), limit
		return q.store.Events(ctx, filter)
	})
}

// pageOfEvents answers with a page of up to limit events, under name. read returns
// those with a seq greater than after.
func (q *queries) pageOfEvents(x *exchange, r *http.Request, name string, limit int, read func(ctx context.Context, after int64, limit int) ([]db.StoredEvent, error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	body, more, after := []byte(`{"`+name+`":[`), true, int64(0)
	for left := limit; left > 0 && more && len(body) < maxPageBytes; {
		step := min(left, pageStep)
		events, err := read(ctx, after, step)
		if err != nil {
			return readProblem(ctx, err)
		}
		for _, ev := range events {
			if body[len(body)-1] != '[' {
				body = append(body, ',')
			}
			body = appendEvent(body, ev)
			after = ev.Seq
		}
		left -= len(events)
		more = len(events) == step
	}
	body = append(body, ']')
	if more {
		body = append(body, `,"next":`...)
		body = strconv.AppendInt(body, after, 10)
	}
	x.answer(http.StatusOK, jsonType, append(body, "}\n"...))
	return nil
}

func eventFilter(query map[string]string) (f db.Filter, err error) {
	f.Limit = defaultPage
	for name, value := range query {
		switch name {
		case "client_id":
			f.ClientID, err = notEmpty(name, value)
		case "state":
			switch f.State = db.State(value); f.State {
			case db.Pending, db.Done, db.Dead:
			default:
				err = parameter(name, "must be pending, done or dead")
			}
		case "after":
			f.After, err = seqParameter(name, value)
		case "limit":
			f.Limit, err = limitParameter(name, value)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// readProblem is storeProblem for reads, where a context's end leaves nothing open.
// A statement that was interrupted by it may say so in words of its own.
func readProblem(ctx context.Context, err error) *problem {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return overloaded.withDetail("the answer took too long: ask again").withCause(err)
	}
	return storeProblem(err)
}

// appendEvent gives an event as it is in the file. Times are RFC 3339 in UTC, to
// the microsecond; what is not known yet is left out.
func appendEvent(b []byte, ev db.StoredEvent) []byte {
	b = appendIdentity(b, ev.ClientID, ev.MessageID, ev.Seq, ev.State)
	b = append(b, `,"type":`...)
	b = appendText(b, ev.Type)
	b = append(b, `,"payload":`...)
	b = append(b, ev.Payload...)
	if len(ev.Attrs) > 0 {
		b = append(b, `,"attrs":`...)
		b = append(b, ev.Attrs...)
	}
	b = append(b, `,"request_id":`...)
	b = appendText(b, ev.RequestID)
	b = appendTime(b, "received_at", ev.ReceivedAt)
	if r := ev.Result; r != nil {
		b = appendRun(b, r)
	}
	return append(b, '}')
}

// appendRun gives how one run of an event ended.
func appendRun(b []byte, r *db.Result) []byte {
	b = append(b, `,"run":`...)
	b = strconv.AppendInt(b, r.Run, 10)
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(r.Attempts), 10)
	b = appendTime(b, "started_at", r.StartedAt)
	b = appendTime(b, "finished_at", r.FinishedAt)
	return appendResult(b, r)
}

func appendTime(b []byte, name string, t time.Time) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	return append(b, '"')
}
