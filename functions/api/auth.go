package api

import (
	"net/http"
	"strings"
)

// anyone is the sender where no tokens are asked for.
var anyone = &token{scopes: scopeIngest | scopeRead | scopeOperate}

// auth knows the tokens that are taken; with none it asks for none.
type auth struct{ tokens *Tokens }

// authorize returns the token of a request that may do what needs scope: 401 for
// no token or one that is not known, 403 for one that may not.
func (a auth) authorize(x *exchange, r *http.Request, need scope) (*token, error) {
	if a.tokens == nil {
		return anyone, nil
	}
	presented, ok := bearer(r.Header)
	if !ok {
		p := unauthorized.withDetail("send a token: Authorization: Bearer …")
		p.challenge = `Bearer realm="inturn"`
		return nil, p
	}
	t := a.tokens.find(presented)
	if t == nil {
		p := unauthorized.withDetail("this token is not known")
		p.challenge = `Bearer realm="inturn", error="invalid_token"`
		return nil, p
	}
	x.token = t.name
	if t.scopes&need == 0 {
		p := forbidden.withDetail("this needs a token with the scope %s", need)
		p.challenge = `Bearer realm="inturn", error="insufficient_scope", scope="` + need.String() + `"`
		return nil, p
	}
	return t, nil
}

// bearer returns the token of RFC 6750, section 2.1. Two headers are none: which
// one counts would be a guess.
func bearer(h http.Header) (string, bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return "", false
	}
	scheme, presented, _ := strings.Cut(values[0], " ")
	presented = strings.Trim(presented, " ")
	return presented, strings.EqualFold(scheme, "Bearer") && presented != ""
}

// authorizeAll says 403 for a token that is for some client_ids only.
func (t *token) authorizeAll() error {
	if t.clientIDs != nil {
		return forbidden.withDetail("this token is for some client_ids only, and this concerns all")
	}
	return nil
}

// authorizeClient says 403 for a client_id that the token is not for; "" stands for all.
func (t *token) authorizeClient(clientID string) error {
	if t.clientIDs == nil {
		return nil
	}
	if _, ok := t.clientIDs[clientID]; ok {
		return nil
	}
	if clientID == "" {
		return forbidden.withDetail("this token is for some client_ids only: name one with client_id=")
	}
	return forbidden.withDetail("this token is not for this client_id")
}
