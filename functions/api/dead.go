package api

import (
	"context"
	"net/http"

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
	return q.pageOfEvents(x, r, "dead", filter.Limit, func(ctx context.Context, after int64, limit, bytes int) ([]db.StoredEvent, error) {
		filter.After, filter.Limit, filter.MaxBytes = max(after, filter.After), limit, bytes
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
			f.Since, err = timeParameter(name, value)
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
