package api

import (
	"encoding/json"
	"net/http"
	"slices"
)

// tokenAnswer is the answer of GET /v1/token.
type tokenAnswer struct {
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	ClientIDs []string `json:"client_ids,omitempty"`
}

// getToken is GET /v1/token: what the request's token allows. Any scope will do. A server that
// asks for no tokens answers for anyone.
func (q *queries) getToken(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, anyone.scopes)
	if err != nil {
		return err
	}
	answer := tokenAnswer{Name: tok.auditName(), Scopes: []string{}}
	for _, s := range []scope{scopeIngest, scopeRead, scopeOperate} {
		if tok.scopes&s != 0 {
			answer.Scopes = append(answer.Scopes, s.String())
		}
	}
	for id := range tok.clientIDs {
		answer.ClientIDs = append(answer.ClientIDs, id)
	}
	slices.Sort(answer.ClientIDs)
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if err := x.hold(len(body)); err != nil {
		return err
	}
	x.answer(http.StatusOK, jsonType, append(body, '\n'))
	return nil
}
