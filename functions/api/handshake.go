package api

import (
	"net/http"
	"strconv"
	"strings"
)

// handshake is OPTIONS of a path that takes events: the validation request by which a
// sender asks whether it may deliver there (CloudEvents 1.0.2, HTTP 1.1 Web Hooks for Event
// Delivery, section 4). It authorizes nobody: deliveries need their token as ever.
func (g *ingestion) handshake(x *exchange, r *http.Request) error {
	h := x.Header()
	h.Set("Allow", "OPTIONS, POST")
	if origin := r.Header.Get("WebHook-Request-Origin"); origin != "" {
		if len(origin) > 255 || strings.ContainsFunc(origin, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return invalidRequest.withDetail("WebHook-Request-Origin must be a DNS name")
		}
		h.Set("WebHook-Allowed-Origin", origin)
		h.Set("WebHook-Allowed-Rate", g.allowedRate())
	}
	x.answer(http.StatusOK, jsonType, []byte("{}\n"))
	return nil
}

// allowedRate is how many events a minute one client_id may send, "*" for any number.
func (g *ingestion) allowedRate() string {
	if g.rates == nil {
		return "*"
	}
	return strconv.Itoa(max(1, int(float64(g.rates.perSecond)*60)))
}

// optionsOf returns the pattern of the handshake for an HTTP function's pattern, "" where
// that function takes no POST.
func optionsOf(pattern string) string {
	path, ok := strings.CutPrefix(pattern, "POST ")
	if !ok {
		return ""
	}
	return "OPTIONS " + path
}
