package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

func TestOtherPathsAndMethods(t *testing.T) {
	h := newAPI(t, Options{})
	for _, path := range []string{"/", "/v1", "/v1/events/", "/v1/events/a", "/v1/events/a/b/c", "//v1/events", "/v1/../v1/events", "/healthz", "/v1/event%73x"} {
		w := request(h, "POST", path, goodEvent)
		wantProblem(t, w, 404, "not-found")
		if w.Header().Get("Location") != "" {
			t.Errorf("%s: redirected to %s", path, w.Header().Get("Location"))
		}
	}
	tests := []struct{ method, path, allow string }{
		{"PUT", "/v1/events", "GET, HEAD, OPTIONS, POST"}, {"PUT", "/v1/events/a/b", "DELETE, GET, HEAD"}, {"POST", "/v1/events/a/b", "DELETE, GET, HEAD"},
	}
	for _, tt := range tests {
		w := request(h, tt.method, tt.path, "")
		wantProblem(t, w, 405, "method-not-allowed")
		if got := w.Header().Get("Allow"); got != tt.allow {
			t.Errorf("%s %s: Allow %q, want %q", tt.method, tt.path, got, tt.allow)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	made := regexp.MustCompile(`^[A-Z2-7]{26}$`)
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	tests := []struct {
		id    string
		taken bool
	}{
		{"a", true}, {"req-1_2.3:4/5+6=7@8~9", true}, {strings.Repeat("x", 128), true},
		{"", false}, {strings.Repeat("x", 129), false}, {"a b", false}, {"a\"b", false}, {"ü", false}, {"a\nb", false}, {"a,b", false},
	}
	for i, tt := range tests {
		ev := strings.Replace(goodEvent, `"1"`, fmt.Sprintf(`"m%d"`, i), 1)
		got := request(h, "POST", "/v1/events", ev, "X-Request-ID", tt.id).Header().Get("X-Request-Id")
		if tt.taken != (got == tt.id) || !tt.taken && !made.MatchString(got) {
			t.Errorf("%q: answered with %q", tt.id, got)
		}
		if stored := s.events[i].RequestID; stored != got {
			t.Errorf("%q: stored %q, answered %q", tt.id, stored, got)
		}
	}
	if a, b := request(h, "GET", "/", ""), request(h, "GET", "/", ""); a.Header().Get("X-Request-Id") == b.Header().Get("X-Request-Id") {
		t.Error("two requests have the same id")
	}
}

func TestTraceparent(t *testing.T) {
	trace, parent := strings.Repeat("0a", 16), strings.Repeat("b0", 8)
	good := "00-" + trace + "-" + parent + "-01"
	tests := []struct {
		values []string
		taken  bool
	}{
		{[]string{good}, true}, {[]string{"cc-" + good[3:]}, true}, {[]string{"cc-" + good[3:] + "-what.ever"}, false}, {[]string{"cc-" + good[3:] + "-what-ever"}, true},
		{nil, false}, {[]string{""}, false}, {[]string{good, good}, false}, {[]string{good + "-x"}, false}, {[]string{good + "x"}, false}, {[]string{"cc" + good[2:] + "x"}, false},
		{[]string{"ff" + good[2:]}, false}, {[]string{strings.ToUpper(good)}, false}, {[]string{good[:54]}, false},
		{[]string{"00-" + strings.Repeat("0", 32) + "-" + parent + "-01"}, false}, {[]string{"00-" + trace + "-" + strings.Repeat("0", 16) + "-01"}, false},
		{[]string{strings.Replace(good, "0a", `"}`, 1)}, false}, {[]string{strings.Replace(good, "-", "_", 2)}, false},
	}
	for _, tt := range tests {
		got := string(traceAttrs(http.Header{"Traceparent": tt.values}))
		want := ""
		if tt.taken {
			want = `{"traceparent":"` + tt.values[0] + `"}`
		}
		if got != want {
			t.Errorf("%q: %s", tt.values, got)
		}
	}
}

func TestTheLogLine(t *testing.T) {
	log, lines := logLines()
	s := &fakeStore{}
	now := fakeTime
	h := newAPI(t, Options{Store: s, Log: log, Now: func() time.Time { now = now.Add(time.Millisecond); return now }})
	secrets := []string{"Authorization", "Bearer secret-token"}
	request(h, "POST", "/v1/events?secret-query", goodEvent, secrets...)
	request(h, "POST", "/v1/events", strings.Replace(goodEvent, "hi", "secret-text", 1), secrets...)
	request(h, "POST", "/v1/events", `{"client_id":"a","message_id":"2","payload":{"phone":"secret-phone"}}`, secrets...)
	request(h, "GET", "/secret-path", "", secrets...)
	request(h, "POST", "/v1/events", goodEvent) // with another text
	s.err = db.ErrStorageFull
	request(h, "POST", "/v1/events", goodEvent)
	s.err = fmt.Errorf("unheard of")
	request(h, "POST", "/v1/events", goodEvent)
	want := []string{
		"INFO POST /v1/events 400 <nil> <nil> <nil> invalid-request <nil>",
		"DEBUG POST /v1/events 202 a 1 1 <nil> <nil>",
		"INFO POST /v1/events 400 a 2 <nil> invalid-event <nil>",
		"INFO  404 <nil> <nil> <nil> not-found <nil>",
		"INFO POST /v1/events 422 a 1 1 id-reused <nil>",
		"WARN POST /v1/events 503 a 1 <nil> storage-full the disk is full",
		"ERROR POST /v1/events 500 a 1 <nil> internal unheard of",
	}
	got := lines()
	if len(got) != len(want) {
		t.Fatalf("%d lines: %v", len(got), got)
	}
	for i, l := range got {
		line := fmt.Sprint(l["level"], " ", l["route"], " ", l["status"], " ", l["client_id"], " ", l["message_id"], " ", l["seq"], " ", l["problem"], " ", l["cause"])
		if line != want[i] {
			t.Errorf("line %d: %s\nwant %s", i, line, want[i])
		}
		if l["request_id"] == "" || l["took"] != 1e6 || l["remote"] == "" {
			t.Errorf("line %d: %v", i, l)
		}
		if strings.Contains(fmt.Sprint(l), "secret") {
			t.Errorf("line %d shows a secret: %v", i, l)
		}
	}
}

func TestHealth(t *testing.T) {
	s := &fakeStore{}
	stopping := make(chan struct{})
	h := Admin(Options{Store: s, Stopping: stopping, Tokens: &Tokens{}})
	wantJSON(t, request(h, "GET", "/healthz", ""), 200, `{"status":"ok"}`)
	wantJSON(t, request(h, "GET", "/readyz", ""), 200, `{"status":"ready"}`)
	wantProblem(t, request(h, "GET", "/other", ""), 404, "not-found")
	// A certificate that is about to end is said, and the server stays ready.
	warned := Admin(Options{Store: s, Warning: func() string { return "it ends" }})
	wantJSON(t, request(warned, "GET", "/readyz", ""), 200, `{"status":"ready","warning":"it ends"}`)
	for _, tt := range []struct {
		err  error
		name string
	}{{db.ErrStorageFull, "storage-full"}, {db.ErrBacklogFull, "backlog-full"}, {db.ErrCorrupt, "unavailable"}, {fmt.Errorf("secret"), "unavailable"}} {
		s.err = tt.err
		w := request(h, "GET", "/readyz", "")
		if strings.Contains(w.Body.String(), "secret") {
			t.Error(w.Body)
		}
		wantProblem(t, w, 503, tt.name)
	}
	wantJSON(t, request(h, "GET", "/healthz", ""), 200, `{"status":"ok"}`)
	s.err = nil
	close(stopping)
	wantProblem(t, request(h, "GET", "/readyz", ""), 503, "shutting-down")
}
