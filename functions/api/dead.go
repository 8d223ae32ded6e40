package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"inturn/db"
)

// listDead is GET /v1/dead: a page of the events that were set aside, in seq order,
//
//	{"dead": […], "next": seq}
//
// next, if present, is `after` for the page that follows.
func (q *queries) listDead(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	filter, err := deadFilter(x.query)
	if err != nil {
		return err
	}
	x.clientID = filter.ClientID
	if err := tok.authorizeClient(filter.ClientID); err != nil {
		return err
	}
	return q.pageOfEvents(x, r, "dead", filter.Limit, func(ctx context.Context, after int64, limit int) ([]db.StoredEvent, error) {
		filter.After, filter.Limit = max(after, filter.After), limit
		return q.store.Dead(ctx, filter)
	})
}

func deadFilter(query map[string]string) (f db.DeadFilter, err error) {
	f.Limit = defaultPage
	for name, value := range query {
		switch name {
		case "client_id":
			f.ClientID, err = notEmpty(name, value)
		case "type":
			f.Type, err = notEmpty(name, value)
		case "since":
			if f.Since, err = time.Parse(time.RFC3339, value); err != nil {
				err = parameter(name, "must be a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
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

// listRuns is GET /v1/events/{client_id}/{message_id}/runs: how the event's earlier
// runs ended, those before a redrive or a replay, the first one first.
func (q *queries) listRuns(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	x.clientID, x.messageID = r.PathValue("client_id"), r.PathValue("message_id")
	if err := tok.authorizeClient(x.clientID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	ev, err := q.store.Find(ctx, x.clientID, x.messageID)
	if err != nil {
		return readProblem(ctx, err)
	}
	x.seq = ev.Seq
	runs, err := q.store.Runs(ctx, ev.Seq)
	if err != nil {
		return readProblem(ctx, err)
	}
	body := append([]byte(`{"seq":`), strconv.FormatInt(ev.Seq, 10)...)
	body = append(body, `,"runs":[`...)
	for i := range runs {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"state":`...)
		body = appendText(body, string(runs[i].Status))
		body = appendRun(body, &runs[i])
		body = append(body, '}')
	}
	x.answer(http.StatusOK, jsonType, append(body, "]}\n"...))
	return nil
}
