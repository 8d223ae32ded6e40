package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"inturn/db"
)

// listTypes is GET /v1/types: every type that has a function, is paused, or lacks a
// function that accounts wait for, and whether everything is paused,
//
//	{"paused": false, "types": [{"type": "greet", "paused": false, "function": false, "waiting": 2}, {"type": "message", "paused": false, "payload": {"type": "object", …}}]}
//
// with the JSON Schema of the payload, and the time, the operator and the reason of each pause. waiting is how many accounts wait for the
// type to have a function.
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
	missing := map[string]int{}
	if q.missing != nil {
		missing = q.missing()
	}
	add := func(name string, function bool) {
		if body[len(body)-1] != '[' {
			body = append(body, ',')
		}
		body = append(body, `{"type":`...)
		body = appendText(body, name)
		body = append(append(body, ','), appendPause(nil, paused[name])...)
		if f, ok := q.functions.Get(name); ok {
			body = append(append(body, `,"payload":`...), f.Schema()...)
		}
		if !function {
			body = append(body, `,"function":false`...)
			if n := missing[name]; n > 0 {
				body = strconv.AppendInt(append(body, `,"waiting":`...), int64(n), 10)
			}
		}
		body = append(body, '}')
		delete(paused, name)
		delete(missing, name)
	}
	for _, name := range q.functions.Names() {
		add(name, true)
	}
	for i := range pauses {
		if name := pauses[i].Type; name != "" && paused[name] != nil {
			add(name, false)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		add(name, false)
	}
	if err := x.hold(len(body)); err != nil {
		return err
	}
	w := newAnswerWriter(x)
	w.append(body)
	w.text("]}\n")
	w.end()
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
