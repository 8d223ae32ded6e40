package api

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"inturn/db"
)

// counts is an Observer.
type counts struct {
	mu  sync.Mutex
	all []string
}

func (c *counts) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, text)
}

func (c *counts) Offered(result string) { c.add(result) }
func (c *counts) Problem(name string)   { c.add("problem " + name) }

func (c *counts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.all)
	return strings.Join(c.all, ", ")
}

// Every event that is offered is counted once, whichever way it came in.
func TestOffered(t *testing.T) {
	tests := []struct {
		name, target, body, want string
		headers                  []string
		err                      error
	}{
		{name: "new", target: "/v1/events", body: goodEvent, want: "new"},
		{name: "duplicate", target: "/v1/events", body: small("done", "1"), want: "duplicate"},
		{name: "conflict", target: "/v1/events", body: small("done", "1")[:len(small("done", "1"))-4] + `"2"}`, want: "conflict, problem id-reused"},
		{name: "invalid", target: "/v1/events", body: `{"client_id":"a"}`, want: "invalid, problem invalid-event"},
		{name: "too large", target: "/v1/events", body: small("a", strings.Repeat("x", 2000)), want: "invalid, problem too-large"},
		{name: "refused", target: "/v1/events", body: goodEvent, err: db.ErrBacklogFull, want: "problem backlog-full, refused"},
		{name: "a hook", target: "/hooks/a/1", body: `{}`, want: "new"},
		{name: "a batch", target: "/v1/events", body: "[" + small("a", "1") + "," + small("a", "1") + `,{"client_id":"b"},` + small("b", "2") + "]",
			want: "duplicate, invalid, new, not-attempted, problem invalid-event, problem not-attempted"},
		{name: "a refused batch", target: "/v1/events", body: "[" + small("a", "1") + "," + small("a", "2") + "]", err: db.ErrOverloaded,
			want: "problem overloaded, refused, refused"},
		{name: "lines", target: "/v1/events", body: small("a", "1") + "\n" + small("a", "1") + "\nx\n", headers: []string{"Content-Type", "application/x-ndjson"},
			want: "duplicate, invalid, new, problem invalid-event"},
		{name: "not an event", target: "/v1/nothing", body: goodEvent, want: "problem not-found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mixedStore(t)
			s.err = tt.err
			c := &counts{}
			request(newAPI(t, Options{Store: s, Observer: c, MaxEvent: 1000, Functions: testSet(t, hook)}), "POST", tt.target, tt.body, tt.headers...)
			if got := c.String(); got != tt.want {
				t.Errorf("counted %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMetricsPage(t *testing.T) {
	tokens, err := LoadTokens("", "secret")
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "some 1\n") })
	open := func(o Options) http.Handler { o.Store = &fakeStore{}; return Admin(o) }
	wantProblem(t, request(open(Options{}), "GET", "/metrics", ""), 404, "not-found")
	guarded := open(Options{Tokens: tokens, Metrics: page})
	wantProblem(t, request(guarded, "GET", "/metrics", ""), 401, "unauthorized")
	for name, h := range map[string]http.Handler{
		"no tokens": open(Options{Metrics: page}), "on loopback": open(Options{Tokens: tokens, Metrics: page, OpenMetrics: true}),
	} {
		if w := request(h, "GET", "/metrics", ""); w.Code != 200 || w.Body.String() != "some 1\n" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := request(guarded, "GET", "/metrics", "", "Authorization", "Bearer secret"); w.Code != 200 {
		t.Errorf("with a token: %d", w.Code)
	}
}

func TestLogLevel(t *testing.T) {
	tokens, err := LoadTokens("", "secret")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	level := &slog.LevelVar{}
	h := Admin(Options{Store: &fakeStore{}, Tokens: tokens, Profiles: true, LogLevel: level, Log: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))})
	wantProblem(t, request(h, "PUT", "/loglevel", "debug"), 401, "unauthorized")
	if level.Level() != slog.LevelInfo {
		t.Error("changed without a token")
	}
	token := []string{"Authorization", "Bearer secret"}
	wantProblem(t, request(h, "PUT", "/loglevel", "loud", token...), 400, "invalid-request")
	for _, to := range []string{"error", "debug", "warn"} {
		out.Reset()
		for _, method := range []string{"PUT", "GET"} {
			if w := request(h, method, "/loglevel", to+"\n", token...); w.Code != 200 || w.Body.String() != fmt.Sprintf("{\"level\":%q}\n", to) {
				t.Errorf("%s: %d %s", method, w.Code, w.Body)
			}
		}
		if name(level.Level()) != to || !strings.Contains(out.String(), "the log level was changed") || !strings.Contains(out.String(), `"to":"`+to+`"`) {
			t.Errorf("the level is %s, want %s; logged: %s", level, to, out.String())
		}
	}
	wantProblem(t, request(Admin(Options{Store: &fakeStore{}, LogLevel: level}), "GET", "/loglevel", ""), 404, "not-found")
}
