package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The admin address is called by its own names and by addresses: a page whose name was
// made to point there gets nothing but health.
func TestAdminHosts(t *testing.T) {
	h := Admin(Options{Store: &fakeStore{}, Profiles: true, LogLevel: new(slog.LevelVar), Hosts: []string{"in.example.com"}, AdminHosts: []string{"inturn"}})
	for host, status := range map[string]int{
		"localhost:9091": 200, "127.0.0.1:9091": 200, "[::1]:9091": 200, "10.0.0.7:9091": 200, "[fd00::7]": 200, "in.example.com": 200, "inturn:9091": 200, "INTURN.": 200,
		"evil.example": 421, "evil.example:9091": 421, "": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
	} {
		for path, want := range map[string]int{"/debug/pprof/": status, "/loglevel": status, "/healthz": 200, "/readyz": 200} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s of %q: %d, want %d", path, host, w.Code, want)
			}
		}
	}
}

// What concerns the process is not for a token of some client_ids.
func TestProcessIsNotForClients(t *testing.T) {
	tokens, err := LoadTokens(tokenFile(t, fmt.Sprintf(`{"tokens":[
		{"name":"some","hash":%q,"scopes":["read","operate"],"client_ids":["a"]}, {"name":"all","hash":%q,"scopes":["read","operate"]}]}`,
		HashToken("some"), HashToken("all"))), "")
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	h := Admin(Options{Store: &fakeStore{}, Tokens: tokens, Profiles: true, LogLevel: new(slog.LevelVar), Metrics: page})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap", "/loglevel", "/metrics"} {
		wantProblem(t, request(h, "GET", path, "", "Authorization", "Bearer some"), 403, "forbidden")
		if w := request(h, "GET", path, "", "Authorization", "Bearer all"); w.Code == 403 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	wantProblem(t, request(h, "PUT", "/loglevel", "debug", "Authorization", "Bearer some"), 403, "forbidden")
	api := newAPI(t, Options{Tokens: tokens})
	for _, c := range []struct{ method, path string }{
		{"GET", "/v1/types"}, {"GET", "/v1/accounts"}, {"GET", "/v1/events"}, {"GET", "/v1/dead"}, {"GET", "/v1/audit"}, {"POST", "/v1/pause"}, {"POST", "/v1/resume"},
		{"POST", "/v1/types/any/pause"}, {"POST", "/v1/types/any/resume"}, {"POST", "/v1/accounts/retry"}, {"POST", "/v1/accounts/skip"}, {"POST", "/v1/dead/redrive"},
	} {
		wantProblem(t, request(api, c.method, c.path, `{}`, "Authorization", "Bearer some"), 403, "forbidden")
	}
}
