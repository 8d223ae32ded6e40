package api

import (
	"net/http"
	"strings"
	"testing"

	"inturn/functions"
)

// CloudEvents' webhook senders ask before they deliver.
func TestWebhookHandshake(t *testing.T) {
	hook := functions.HTTP("POST /hooks/{client_id}", func(*http.Request) (functions.Event, error) { return functions.Event{}, nil })
	tokens := mustTokens(t)
	for _, c := range []struct {
		path, origin, allowed, rate string
		perSecond                   float64
		status                      int
	}{
		{"/v1/events", "eventemitter.example.com", "eventemitter.example.com", "*", 0, 200},
		{"/v1/events", "eventemitter.example.com", "eventemitter.example.com", "120", 2, 200},
		{"/v1/events", "e.example", "e.example", "1", 0.001, 200},
		{"/v1/events", "", "", "", 0, 200},
		{"/v1/events", "two names", "", "", 0, 400},
		{"/v1/events", strings.Repeat("x", 256), "", "", 0, 400},
		{"/hooks/a", "e.example", "e.example", "*", 0, 200},
		{"/v1/accounts", "e.example", "", "", 0, 405},
	} {
		h := newAPI(t, Options{Tokens: tokens, ClientRate: c.perSecond, Functions: testSet(t, hook)})
		var headers []string
		if c.origin != "" {
			headers = []string{"WebHook-Request-Origin", c.origin, "WebHook-Request-Rate", "100"}
		}
		w := request(h, "OPTIONS", c.path, "", headers...)
		if w.Code != c.status || w.Header().Get("WebHook-Allowed-Origin") != c.allowed || w.Header().Get("WebHook-Allowed-Rate") != c.rate {
			t.Errorf("%+v: %d %v", c, w.Code, w.Header())
		}
		if c.status == 200 && !strings.Contains(w.Header().Get("Allow"), "POST") {
			t.Errorf("%s: Allow %q", c.path, w.Header().Get("Allow"))
		}
	}
}
