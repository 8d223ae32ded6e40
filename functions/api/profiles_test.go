package api

import (
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	tokens, err := LoadTokens("", "secret")
	if err != nil {
		t.Fatal(err)
	}
	w := request(Admin(Options{Store: &fakeStore{}, Profiles: true}), "GET", "/debug/pprof/", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "\ngoroutine\n") {
		t.Errorf("the list of profiles: %d %s", w.Code, w.Body)
	}
	wantProblem(t, request(Admin(Options{Store: &fakeStore{}, Tokens: tokens, Profiles: true}), "GET", "/debug/pprof/", ""), 401, "unauthorized")
	const path = "/debug/pprof/goroutine?debug=1"
	guarded := Admin(Options{Store: &fakeStore{}, Tokens: tokens, Profiles: true})
	wantProblem(t, request(guarded, "GET", path, ""), 401, "unauthorized")
	wantProblem(t, request(guarded, "GET", path, "", "Authorization", "Bearer wrong"), 401, "unauthorized")
	for name, w := range map[string]int{
		"with a token":   request(guarded, "GET", path, "", "Authorization", "Bearer secret").Code,
		"without tokens": request(Admin(Options{Store: &fakeStore{}, Profiles: true}), "GET", path, "").Code,
	} {
		if w != 200 {
			t.Errorf("%s: %d", name, w)
		}
	}
	wantProblem(t, request(Admin(Options{Store: &fakeStore{}, Profiles: true}), "GET", "/debug/pprof/none", ""), 404, "not-found")
	wantProblem(t, request(Admin(Options{Store: &fakeStore{}}), "GET", path, ""), 404, "not-found")
}
