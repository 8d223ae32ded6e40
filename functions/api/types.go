package api

import (
	"context"
	"net/http"

	"inturn/db"
)

// listTypes is GET /v1/types: every type that has a function or is paused, and
// whether everything is paused,
//
//	{"paused": false, "types": [{"type": "message", "paused": false}]}
//
// with since, who and reason of each pause.
func (q *queries) listTypes(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	if err := tok.authorizeAll(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	pauses, err := q.store.Pauses(ctx)
	if err != nil {
		return readProblem(ctx, err)
	}
	paused := map[string]*db.PausedType{}
	for i := range pauses {
		paused[pauses[i].Type] = &pauses[i]
	}
	body := append([]byte(`{`), appendPause(nil, paused[""])...)
	body = append(body, `,"types":[`...)
	add := func(name string) {
		if body[len(body)-1] != '[' {
			body = append(body, ',')
		}
		body = append(body, `{"type":`...)
		body = appendText(body, name)
		body = append(append(append(body, ','), appendPause(nil, paused[name])...), '}')
	}
	for _, name := range q.functions.Names() {
		add(name)
		delete(paused, name)
	}
	for i := range pauses { // those of functions that this binary doesn't have
		if name := pauses[i].Type; name != "" && paused[name] != nil {
			add(name)
		}
	}
	x.answer(http.StatusOK, jsonType, append(body, "]}\n"...))
	return nil
}

func appendPause(b []byte, p *db.PausedType) []byte {
	if p == nil {
		return append(b, `"paused":false`...)
	}
	b = append(b, `"paused":true`...)
	b = appendTime(b, "since", p.Since)
	b = append(b, `,"who":`...)
	b = appendText(b, p.Who)
	b = append(b, `,"reason":`...)
	return appendText(b, p.Reason)
}
