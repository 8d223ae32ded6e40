package api

import (
	"strings"
	"testing"
)

// Every path refuses a parameter that it doesn't have, and one that is given twice, before
// anything is done.
func TestUnknownParameters(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	admin := Admin(Options{Store: s, Profiles: true})
	for _, c := range []struct{ method, path, parameter string }{
		{"POST", "/v1/events", "on_eror"}, {"GET", "/v1/events", "clientid"}, {"GET", "/v1/events/a/1", "payload"}, {"GET", "/v1/events/a/1/runs", "before"}, {"DELETE", "/v1/events/a/1", "why"},
		{"GET", "/v1/stream", "on_eror"}, {"GET", "/v1/accounts", "stat"}, {"GET", "/v1/accounts/a", "x"}, {"POST", "/v1/accounts/a/pause", "reason"},
		{"POST", "/v1/accounts/a/skip", "seq"}, {"POST", "/v1/accounts/a/erase", "x"}, {"POST", "/v1/accounts/retry", "dry_run"}, {"POST", "/v1/types/any/pause", "x"},
		{"POST", "/v1/pause", "x"}, {"GET", "/v1/types", "x"}, {"GET", "/v1/dead", "state"}, {"POST", "/v1/dead/redrive", "dry_run"}, {"GET", "/v1/audit", "after"},
		{"GET", "/v1/openapi.yaml", "x"}, {"GET", "/healthz", "x"}, {"GET", "/readyz", "x"}, {"GET", "/debug/pprof/", "x"}, {"GET", "/debug/pprof/heap", "second"},
	} {
		asked := h
		if !strings.HasPrefix(c.path, "/v1/") {
			asked = admin
		}
		w := request(asked, c.method, c.path+"?"+c.parameter+"=1", goodEvent)
		if p := wantProblem(t, w, 400, "invalid-request"); len(p.Errors) != 1 || p.Errors[0].Parameter != c.parameter {
			t.Errorf("%s %s: %+v", c.method, c.path, p)
		}
	}
	wantProblem(t, request(h, "POST", "/v1/events?on_error=continue&on_error=continue", goodEvent), 400, "invalid-request")
	wantProblem(t, request(h, "POST", "/v1/events?on_error=stop", "["+goodEvent+"]"), 400, "invalid-request")
	if len(s.events) != 0 || len(s.acts) != 0 {
		t.Errorf("%d events were stored, %d commands executed", len(s.events), len(s.acts))
	}
}
