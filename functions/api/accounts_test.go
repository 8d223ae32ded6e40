package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

func TestAccounts(t *testing.T) {
	store := &fakeStore{}
	state := map[string]string{"c002": "running", "c003": "stuck", "c004": "idle"}
	h := newAPI(t, Options{Store: store, AccountState: func(id string) string { return state[id] }})
	for i := range 250 {
		if status, _ := postAs(h, fmt.Sprintf("c%03d", i), "1"); status != 202 {
			t.Fatal(status)
		}
	}
	store.mu.Lock()
	store.events[4].State = db.Done
	store.mu.Unlock()
	get := func(target, want string) {
		t.Helper()
		w := request(h, "GET", target, "")
		if w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("%s: %d %s\nwant %s", target, w.Code, w.Body, want)
		}
	}
	one := func(i int, state string) string {
		if i == 4 {
			return `{"client_id":"c004","state":"idle","paused":false,"replaying":false,"pending":0,"attempts":0}`
		}
		return fmt.Sprintf(`{"client_id":"c%03d","state":%q,"paused":false,"replaying":false,"pending":1,"attempts":0,"head_seq":%d}`, i, state, i+1)
	}
	get("/v1/accounts/c002", one(2, "running"))
	get("/v1/accounts/c004", one(4, "idle"))
	get("/v1/accounts?limit=2", `{"accounts":[`+one(0, "ready")+`,`+one(1, "ready")+`],"next":"c001"}`)
	get("/v1/accounts?limit=2&after=c001", `{"accounts":[`+one(2, "running")+`,`+one(3, "stuck")+`],"next":"c003"}`)
	get("/v1/accounts?state=idle", `{"accounts":[`+one(4, "idle")+`]}`)
	get("/v1/accounts?state=stuck&limit=1", `{"accounts":[`+one(3, "stuck")+`],"next":"c003"}`)
	get("/v1/accounts?state=parked", `{"accounts":[]}`)
	get("/v1/accounts?after=c249", `{"accounts":[]}`)
	seen := 0
	for after := ""; ; {
		body := request(h, "GET", "/v1/accounts?limit=120&state=ready&after="+after, "").Body.String()
		seen += strings.Count(body, `"state":"ready"`)
		_, next, more := strings.Cut(body, `"next":"`)
		if !more {
			break
		}
		after = strings.TrimSuffix(strings.TrimSpace(next), `"}`)
	}
	if seen != 247 {
		t.Errorf("pages have %d ready accounts, want 247", seen)
	}
	store.paused = map[string]bool{"c003": true, "c004": true}
	paused := strings.NewReplacer(`"paused":false`, `"paused":true`)
	get("/v1/accounts?paused=true", `{"accounts":[`+paused.Replace(one(3, "stuck")+`,`+one(4, "idle"))+`]}`)
	get("/v1/accounts?paused=true&state=idle", `{"accounts":[`+paused.Replace(one(4, "idle"))+`]}`)
	get("/v1/accounts?paused=true&state=ready", `{"accounts":[]}`)
	get("/v1/accounts?paused=false&limit=1&after=c002", `{"accounts":[`+one(5, "ready")+`],"next":"c005"}`)
	wantProblem(t, request(h, "GET", "/v1/accounts/nobody", ""), 404, "not-found")
	for _, query := range []string{"state=busy", "state=", "limit=0", "limit=1001", "limit=x", "more=1", "paused=", "paused=yes", "paused=true&paused=true", "after=a&after=b", "a=%zz"} {
		wantProblem(t, request(h, "GET", "/v1/accounts?"+query, ""), 400, "invalid-request")
	}
}

// What the file and the process know is joined.
func TestAccountState(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		account       db.Account
		process, want string
	}{
		{db.Account{}, "", "idle"}, {db.Account{}, "idle", "idle"}, {db.Account{Pending: 1}, "idle", "ready"}, {db.Account{Pending: 1}, "", "ready"},
		{db.Account{Pending: 1, NextAt: now.Add(time.Hour)}, "", "retrying"}, {db.Account{Pending: 1, NextAt: now.Add(-time.Hour)}, "", "ready"},
		{db.Account{Pending: 1}, "stuck", "stuck"}, {db.Account{Pending: 1, Parked: true}, "ready", "parked"}, {db.Account{}, "running", "running"},
		{db.Account{Paused: true}, "ready", "idle"}, {db.Account{ReplayNext: 1, ReplayTo: 2}, "ready", "ready"},
	} {
		v := accountView{now: func() time.Time { return now }}
		if c.process != "" {
			v.process = func(string) string { return c.process }
		}
		if got := v.state(c.account); got != c.want {
			t.Errorf("%+v, %q: %s, want %s", c.account, c.process, got, c.want)
		}
	}
	p := string(appendAccount(nil, db.Account{ClientID: "a", Pending: 2, HeadSeq: 7, Attempts: 3, NextAt: fakeTime, LastError: `"why"`}, "retrying"))
	if want := `{"client_id":"a","state":"retrying","paused":false,"replaying":false,"pending":2,"attempts":3,"head_seq":7,"next_at":"2026-11-21T12:00:00.123456Z","last_error":"\"why\""}`; p != want {
		t.Errorf("%s\nwant %s", p, want)
	}
}

func TestAccountsNeedRead(t *testing.T) {
	tokens, err := LoadTokens(tokenFile(t, fmt.Sprintf(`{"tokens":[{"name":"i","hash":%q,"scopes":["ingest","operate"]},{"name":"a","hash":%q,"scopes":["read"],"client_ids":["a"]}]}`,
		HashToken("i"), HashToken("a"))), "")
	if err != nil {
		t.Fatal(err)
	}
	h := newAPI(t, Options{Tokens: tokens})
	for _, c := range []struct {
		token, target string
		want          int
	}{{"", "/v1/accounts", 401}, {"i", "/v1/accounts", 403}, {"a", "/v1/accounts", 403}, {"i", "/v1/accounts/a", 403}, {"a", "/v1/accounts/a", 404}, {"a", "/v1/accounts/b", 403}} {
		var headers []string
		if c.token != "" {
			headers = []string{"Authorization", "Bearer " + c.token}
		}
		if w := request(h, "GET", c.target, "", headers...); w.Code != c.want {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}

func TestAccountsSortedHaveNoNextPage(t *testing.T) {
	h := newAPI(t, Options{})
	for _, client := range []string{"a", "b"} {
		if w := request(h, "POST", "/v1/events", strings.Replace(goodEvent, `"a"`, `"`+client+`"`, 1)); w.Code != 202 {
			t.Fatal(w.Code, w.Body)
		}
	}
	const first = `{"accounts":[{"client_id":"a","state":"ready","paused":false,"replaying":false,"pending":1,"attempts":0,"head_seq":1}]`
	wantJSON(t, request(h, "GET", "/v1/accounts?sort=pending&limit=1", ""), 200, first+"}")
	wantJSON(t, request(h, "GET", "/v1/accounts?sort=oldest&state=ready&limit=1", ""), 200, first+"}")
	wantJSON(t, request(h, "GET", "/v1/accounts?sort=client_id&limit=1", ""), 200, first+`,"next":"a"}`)
	wantProblem(t, request(h, "GET", "/v1/accounts?sort=age", ""), 400, "invalid-request")
	wantProblem(t, request(h, "GET", "/v1/accounts?sort=oldest&after=a", ""), 400, "invalid-request")
}

func TestToken(t *testing.T) {
	wantJSON(t, request(newAPI(t, Options{}), "GET", "/v1/token", ""), 200, `{"name":"anyone","scopes":["ingest","read","operate"]}`)
	tokens, err := LoadTokens(tokenFile(t, `{"tokens":[{"name":"shop","hash":"`+HashToken("s")+`","scopes":["operate","ingest"],"client_ids":["b","a"]}]}`), "")
	if err != nil {
		t.Fatal(err)
	}
	h := newAPI(t, Options{Tokens: tokens})
	wantJSON(t, request(h, "GET", "/v1/token", "", "Authorization", "Bearer s"), 200, `{"name":"shop","scopes":["ingest","operate"],"client_ids":["a","b"]}`)
	wantProblem(t, request(h, "GET", "/v1/token", "", "Authorization", "Bearer t"), 401, "unauthorized")
}

func TestReplayDryRun(t *testing.T) {
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store})
	request(h, "POST", "/v1/events", goodEvent)
	store.settle(1, db.Result{Status: db.Done})
	wantJSON(t, request(h, "POST", "/v1/accounts/a/replay", `{"dry_run":true}`), 200, `{"verb":"replay","dry_run":true,"duplicate":false,"count":1,"more":false}`)
	wantJSON(t, request(h, "POST", "/v1/accounts/a/replay", `{"from":2,"dry_run":true}`), 200, `{"verb":"replay","dry_run":true,"duplicate":false,"count":0,"more":false}`)
	wantProblem(t, request(h, "POST", "/v1/accounts/b/replay", `{"dry_run":true}`), 404, "not-found")
	if len(store.acts) != 0 {
		t.Errorf("done: %+v", store.acts)
	}
}
