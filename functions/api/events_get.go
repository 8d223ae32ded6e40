package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
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
func (a *api) getEvent(x *exchange, r *http.Request) error {
	who, err := a.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	x.clientID, x.messageID = r.PathValue("client_id"), r.PathValue("message_id")
	if err := who.mayUse(x.clientID); err != nil {
		return err
	}
	ev, err := a.Store.Find(r.Context(), x.clientID, x.messageID)
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
func (a *api) listEvents(x *exchange, r *http.Request) error {
	who, err := a.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	filter, err := eventFilter(r.URL.RawQuery)
	if err != nil {
		return err
	}
	x.clientID = filter.ClientID
	if err := who.mayUse(filter.ClientID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	body, more := []byte(`{"events":[`), true
	for left := filter.Limit; left > 0 && more && len(body) < maxPageBytes; {
		filter.Limit = min(left, pageStep)
		events, err := a.Store.Events(ctx, filter)
		if err != nil {
			return readProblem(ctx, err)
		}
		for _, ev := range events {
			if body[len(body)-1] != '[' {
				body = append(body, ',')
			}
			body = appendEvent(body, ev)
			filter.After = ev.Seq
		}
		left -= len(events)
		more = len(events) == filter.Limit
	}
	body = append(body, ']')
	if more {
		body = append(body, `,"next":`...)
		body = strconv.AppendInt(body, filter.After, 10)
	}
	x.answer(http.StatusOK, jsonType, append(body, "}\n"...))
	return nil
}

func eventFilter(rawQuery string) (f db.Filter, err error) {
	f.Limit = defaultPage
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return f, invalidRequest.because("the query can't be read: escape it as a URL wants it")
	}
	for name, values := range query {
		value := values[0]
		if len(values) > 1 {
			return f, parameter(name, "is given more than once")
		}
		switch name {
		case "client_id":
			if f.ClientID = value; value == "" {
				return f, parameter(name, "is empty: name a client_id, or leave it out for all")
			}
		case "state":
			switch f.State = db.State(value); f.State {
			case db.Pending, db.Done, db.Dead:
			default:
				return f, parameter(name, "must be pending, done or dead")
			}
		case "after":
			if f.After, err = strconv.ParseInt(value, 10, 64); err != nil || f.After < 0 {
				return f, parameter(name, "must be a seq, 0 or more")
			}
		case "limit":
			if f.Limit, err = strconv.Atoi(value); err != nil || f.Limit < 1 || f.Limit > maxPage {
				return f, parameter(name, "must be a number from 1 to %d", maxPage)
			}
		default:
			return f, parameter(name, "is not known: there are client_id, state, after and limit")
		}
	}
	return f, nil
}

// readProblem is storeProblem for reads, where a context's end leaves nothing open.
// A statement that was interrupted by it may say so in words of its own.
func readProblem(ctx context.Context, err error) *problem {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return overloaded.because("the answer took too long: ask again").causedBy(err)
	}
	return storeProblem(err)
}

// appendEvent gives an event as it is in the file. Times are RFC 3339 in UTC, to
// the microsecond; what is not known yet is left out.
func appendEvent(b []byte, ev db.Stored) []byte {
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
		b = append(b, `,"attempts":`...)
		b = strconv.AppendInt(b, int64(r.Attempts), 10)
		b = appendTime(b, "started_at", r.StartedAt)
		b = appendTime(b, "finished_at", r.FinishedAt)
		b = appendResult(b, r)
	}
	return append(b, '}')
}

func appendTime(b []byte, name string, t time.Time) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	return append(b, '"')
}
