package page

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fakeAPI knows two tokens and answers from a table of paths.
type fakeAPI struct {
	answers map[string]string // by method and path with its query
	asked   []string
	bodies  []string
	keys    []string
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Host != "localhost" {
		http.Error(w, "host "+r.Host, http.StatusMisdirectedRequest)
		return
	}
	switch token := r.Header.Get("Authorization"); {
	case r.URL.Path == "/v1/token" && token == "Bearer good":
		io.WriteString(w, `{"name":"ops","scopes":["read","operate"]}`)
		return
	case r.URL.Path == "/v1/token" && token == "Bearer reads":
		io.WriteString(w, `{"name":"reader","scopes":["read"],"client_ids":["a"]}`)
		return
	case r.URL.Path == "/v1/token", token == "":
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"status":401,"title":"The sender is not known","detail":"send a token"}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	f.asked, f.bodies, f.keys = append(f.asked, r.Method+" "+r.URL.RequestURI()), append(f.bodies, string(body)), append(f.keys, r.Header.Get("Idempotency-Key"))
	answer, ok := f.answers[r.Method+" "+r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"status":404,"title":"Not found","detail":"nothing is here"}`)
		return
	}
	io.WriteString(w, answer)
}

// browser keeps cookies, and follows no redirects.
type browser struct {
	t      *testing.T
	page   *Page
	host   string
	cookie string
}

func (b *browser) do(method, target string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	r.Host = b.host
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.cookie != "" {
		r.Header.Set("Cookie", b.cookie)
	}
	w := httptest.NewRecorder()
	b.page.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Domain != "" {
			b.t.Errorf("cookie %v", c)
		}
		b.cookie = c.Name + "=" + c.Value
	}
	return w
}

func signedIn(t *testing.T, api *fakeAPI, o Options) *browser {
	t.Helper()
	o.API, o.Tokens = api, true
	b := &browser{t: t, page: New(o), host: "127.0.0.1:9091"}
	if w := b.do("POST", "/login", url.Values{"token": {"good"}, "next": {"/dead?type=x"}}); w.Code != 303 || w.Header().Get("Location") != "/dead?type=x" {
		t.Fatal(w.Code, w.Header(), w.Body)
	}
	return b
}

func TestSessions(t *testing.T) {
	now := time.Now()
	api := &fakeAPI{answers: map[string]string{"GET /v1/dead": `{"dead":[]}`}}
	b := signedIn(t, api, Options{Now: func() time.Time { return now }})
	if strings.Contains(b.cookie, "good") {
		t.Error("the token is in the cookie")
	}
	if w := b.do("GET", "/dead", nil); w.Code != 200 || !strings.Contains(w.Body.String(), "ops (read, operate)") {
		t.Error(w.Code, w.Body)
	}
	first := b.cookie
	for name, other := range map[string]*browser{
		"no cookie": {t: t, page: b.page, host: b.host}, "one that was made elsewhere": {t: t, page: b.page, host: b.host, cookie: "inturn_9091=FIXED"},
		"another host": {t: t, page: b.page, host: "localhost:9091", cookie: first}, "another port": {t: t, page: b.page, host: "127.0.0.1:9092", cookie: first},
		"the token itself": {t: t, page: b.page, host: b.host, cookie: "inturn_9091=good"},
	} {
		if w := other.do("GET", "/dead", nil); w.Code != 401 || !strings.Contains(w.Body.String(), `name="token"`) || strings.Contains(w.Body.String(), "Nothing is dead") {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	// A name that was there before a sign-in is good for nothing after it.
	fixed := &browser{t: t, page: b.page, host: b.host, cookie: "inturn_9091=FIXED"}
	fixed.do("POST", "/login", url.Values{"token": {"good"}})
	if fixed.cookie == "inturn_9091=FIXED" || (&browser{t: t, page: b.page, host: b.host, cookie: "inturn_9091=FIXED"}).do("GET", "/dead", nil).Code != 401 {
		t.Error("the browser's own name became a session")
	}
	b.do("POST", "/logout", nil)
	if w := (&browser{t: t, page: b.page, host: b.host, cookie: first}).do("GET", "/dead", nil); w.Code != 401 {
		t.Error("the session is there after its end")
	}
	c := signedIn(t, api, Options{Now: func() time.Time { return now }})
	now = now.Add(sessionTime)
	if w := c.do("GET", "/dead", nil); w.Code != 401 {
		t.Error("the session is there after its time")
	}
	for range 2 * maxSessions {
		b.page.sessions.begin(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "x")
	}
	if n := len(b.page.sessions.byID); n > maxSessions {
		t.Errorf("%d sessions", n)
	}
}

func TestLogin(t *testing.T) {
	b := &browser{t: t, page: New(Options{API: &fakeAPI{}, Tokens: true}), host: "127.0.0.1:9091"}
	if w := b.do("GET", "/events?type=%3Cb%3E", nil); w.Code != 401 || !strings.Contains(w.Body.String(), `value="/events?type=%3Cb%3E"`) {
		t.Error(w.Code, w.Body)
	}
	for _, token := range []string{"", "wrong", "good\r\nX: y", "gööd", strings.Repeat("x", 5000)} {
		if w := b.do("POST", "/login", url.Values{"token": {token}}); w.Code != 401 || b.cookie != "" {
			t.Errorf("token %.20q: %d %s", token, w.Code, b.cookie)
		}
	}
	if w := b.do("POST", "/login", url.Values{"token": {strings.Repeat("x", maxForm)}}); w.Code != 401 {
		t.Error(w.Code)
	}
	for next, want := range map[string]string{
		"/dead?a=b": "/dead?a=b", "": "/", "//evil.example": "/", "https://evil.example/": "/", `/\evil.example`: "/", "javascript:alert(1)": "/", "evil": "/", "/\tx": "/",
	} {
		if w := b.do("POST", "/login", url.Values{"token": {"good"}, "next": {next}}); w.Header().Get("Location") != want {
			t.Errorf("next %q leads to %q", next, w.Header().Get("Location"))
		}
	}
}

var fieldValues = regexp.MustCompile(` value="[^"]*"|>\n[^<]*</textarea>`)

const nasty = "<script>alert(1)</script>\u202e\x1b[2J\"'&"

// What comes from clients is text on every view, and what has no form is shown by its number.
func TestNothingOfAClientIsMarkup(t *testing.T) {
	quoted := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	ev := `{"client_id":` + quoted(nasty) + `,"message_id":` + quoted(nasty) + `,"seq":7,"state":"dead","type":` + quoted(nasty) + `,"payload":{"a":` + quoted(nasty) + `},"attrs":{"traceparent":` + quoted(nasty) +
		`},"request_id":` + quoted(nasty) + `,"received_at":"2026-01-31T12:00:00Z","run":1,"attempts":1,"result":` + quoted(nasty) + `,"error":` + quoted(nasty) + `,"errors":[{"attempt":1,"error":` + quoted(nasty) +
		`}],"emitted":[{"client_id":` + quoted(nasty) + `,"message_id":"x","seq":8}]}`
	account := `{"client_id":` + quoted(nasty) + `,"state":"parked","paused":true,"pending":1,"attempts":2,"head_seq":7,"last_error":` + quoted(nasty) + `}`
	path := accountPath(nasty)
	decoded, _ := url.PathUnescape(path)
	api := &fakeAPI{answers: map[string]string{
		"GET /v1/status": `{"warnings":[` + quoted(nasty) + `],"endpoints":[{"type":` + quoted(nasty) + `,"state":"down"}]}`, "GET /v1/types": `{"paused":true,"reason":` + quoted(nasty) + `,"types":[{"type":` + quoted(nasty) + `,"paused":true,"who":` + quoted(nasty) + `,"reason":` + quoted(nasty) + `}]}`,
		"GET /v1/accounts": `{"accounts":[` + account + `],"next":` + quoted(nasty) + `}`, "GET " + decoded: account, "GET /v1/events": `{"events":[` + ev + `],"next":9}`, "GET /v1/dead": `{"dead":[` + ev + `],"next":9}`,
		"GET /v1/events/" + nasty + "/" + nasty: ev, "GET /v1/events/" + nasty + "/" + nasty + "/runs": `{"runs":[` + ev + `]}`,
		"GET /v1/audit":              `{"audit":[{"id":1,"who":` + quoted(nasty) + `,"verb":"skip","client_id":` + quoted(nasty) + `,"reason":` + quoted(nasty) + `}]}`,
		"POST " + decoded + "/pause": `{"answer":` + quoted(nasty) + `}`,
	}}
	b := signedIn(t, api, Options{SQL: func(context.Context, string, int) (Rows, error) {
		return Rows{Columns: []string{nasty, "n"}, Rows: [][]any{{nasty, int64(1)}, {[]byte(nasty), 2.5}}}, nil
	}})
	query := url.Values{"client_id": {nasty}, "message_id": {nasty}, "type": {nasty}, "since": {nasty}, "request_id": {nasty}}.Encode()
	for _, target := range []string{"/", "/accounts?state=" + url.QueryEscape(nasty), "/account?" + query, "/events?" + query, "/event?" + query, "/event?raw=1&" + query, "/dead?" + query, "/audit?" + query, "POST /sql", "POST /act"} {
		method, form := "GET", url.Values(nil)
		if at, ok := strings.CutPrefix(target, "POST "); ok {
			method, target, form = "POST", at, url.Values{"query": {nasty}, "verb": {"pause"}, "client_id": {nasty}, "reason": {nasty}, "key": {"k"}}
		}
		w := b.do(method, target, form)
		body := w.Body.String()
		shownText := fieldValues.ReplaceAllString(body, "") // a field sends back what it was given
		if w.Code != 200 || strings.Contains(body, "<script>alert") || strings.ContainsAny(shownText, "\x1b\u202e") {
			t.Errorf("%s %s: %d\n%s", method, target, w.Code, body)
		}
		if shown := `&lt;script&gt;alert(1)&lt;/script&gt;\u202e\u001b[2J`; !strings.Contains(body, shown) && !strings.Contains(body, strings.ReplaceAll(shown, `\u001b`, `\\u001b`)) {
			t.Errorf("%s %s: the text isn't shown:\n%s", method, target, body)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(body, " style=") || strings.Contains(body, " onclick") {
			t.Errorf("%s: inline, or no policy: %s", target, csp)
		}
	}
}

// Each verb's form is one request of the API, with its reason and a key.
func TestVerbs(t *testing.T) {
	all := map[string]string{}
	for _, path := range []string{"/v1/accounts/a/pause", "/v1/accounts/a/resume", "/v1/accounts/a/retry", "/v1/accounts/a/skip", "/v1/accounts/a/replay", "/v1/accounts/a/erase", "/v1/types/t/pause", "/v1/pause", "/v1/dead/redrive"} {
		all["POST "+path] = `{"audit":17,"count":3}`
	}
	all["DELETE /v1/events/a/m"] = `{"audit":17}`
	api := &fakeAPI{answers: all}
	b := signedIn(t, api, Options{})
	for _, c := range []struct{ form, asked, body, shows string }{
		{"verb=pause&client_id=a", "POST /v1/accounts/a/pause", `{"reason":"why"}`, "entry 17"},
		{"verb=resume&client_id=a", "POST /v1/accounts/a/resume", `{"reason":"why"}`, "entry 17"},
		{"verb=pause&type=t", "POST /v1/types/t/pause", `{"reason":"why"}`, "pause type t"},
		{"verb=pause", "POST /v1/pause", `{"reason":"why"}`, "pause everything"},
		{"verb=retry&client_id=a&seq=5", "POST /v1/accounts/a/retry", `{"reason":"why","seq":5}`, "entry 17"},
		{"verb=skip&client_id=a&seq=5", "POST /v1/accounts/a/skip", `{"reason":"why","seq":5}`, "entry 17"},
		{"verb=cancel&client_id=a&message_id=m", "DELETE /v1/events/a/m", `{"reason":"why"}`, "entry 17"},
		{"verb=replay&client_id=a&from=2", "POST /v1/accounts/a/replay", `{"dry_run":true,"from":2,"reason":"why"}`, "<b>3</b> events would run again"},
		{"verb=replay&client_id=a&from=2&to=4&confirmed=1", "POST /v1/accounts/a/replay", `{"from":2,"reason":"why","to":4}`, "entry 17"},
		{"verb=redrive&type=t", "POST /v1/dead/redrive", `{"dry_run":true,"reason":"why","type":"t"}`, "<b>3</b> events"},
		{"verb=redrive", "POST /v1/dead/redrive", `{"all":true,"dry_run":true,"reason":"why"}`, "<b>3</b> events"},
		{"verb=redrive&confirmed=1", "POST /v1/dead/redrive", `{"all":true,"reason":"why"}`, "3 of them"},
		{"verb=redrive&client_id=a&seq=5", "POST /v1/dead/redrive", `{"client_id":"a","reason":"why","seq":5}`, "entry 17"},
		{"verb=redrive&selected=5", "POST /v1/dead/redrive", `{"reason":"why","seq":5}`, "1 of them"},
		{"verb=erase&client_id=a&typed=a", "POST /v1/accounts/a/erase", `{"reason":"why"}`, "erase account a"},
	} {
		form, err := url.ParseQuery(c.form + "&key=k&reason=+why+")
		if err != nil {
			t.Fatal(err)
		}
		n := len(api.asked)
		w := b.do("POST", "/act", form)
		if w.Code != 200 || len(api.asked) != n+1 || api.asked[n] != c.asked || api.bodies[n] != c.body || !strings.Contains(w.Body.String(), c.shows) {
			t.Errorf("%s: %d, asked %q %q\n%s", c.form, w.Code, api.asked[n:], api.bodies[n:], w.Body)
			continue
		}
		if dry := strings.Contains(c.body, "dry_run") || form.Get("verb") == "erase"; dry == strings.Contains(api.keys[n], "k") {
			t.Errorf("%s: key %q", c.form, api.keys[n])
		}
	}
	for _, bad := range []string{
		"verb=pause&client_id=a", "verb=pause&client_id=a&reason=+", "verb=erase&client_id=a&reason=x", "verb=erase&client_id=a&typed=A&reason=x", "verb=drop&reason=x",
		"verb=skip&reason=x", "verb=skip&client_id=a&seq=-1&reason=x", "verb=retry&client_id=a&seq=x&reason=x", "verb=redrive&selected=x&reason=x", "verb=erase&reason=x", "%zz",
	} {
		form, _ := url.ParseQuery(bad)
		n := len(api.asked)
		if w := b.do("POST", "/act", form); w.Code != 400 || len(api.asked) != n {
			t.Errorf("%s: %d, asked %q", bad, w.Code, api.asked[n:])
		}
	}
	if w := b.do("POST", "/act", url.Values{"verb": {"pause"}, "client_id": {"gone"}, "reason": {"x"}}); w.Code != 404 || !strings.Contains(w.Body.String(), "nothing is here") {
		t.Error(w.Code, w.Body)
	}
	if w := b.do("POST", "/act", url.Values{"verb": {"pause"}, "reason": {strings.Repeat("x", maxForm)}}); w.Code != 400 {
		t.Error(w.Code)
	}
}

// A token that may only look at some accounts gets no verbs, no SQL and no overview.
func TestRightsAreTheToken(t *testing.T) {
	api := &fakeAPI{answers: map[string]string{"GET /v1/accounts/a": `{"client_id":"a","state":"idle"}`, "GET /v1/events": `{"events":[]}`}}
	asked := false
	b := &browser{t: t, page: New(Options{API: api, Tokens: true, SQL: func(context.Context, string, int) (Rows, error) { asked = true; return Rows{}, nil }}), host: "h:1"}
	b.do("POST", "/login", url.Values{"token": {"reads"}})
	if w := b.do("GET", "/", nil); w.Code != 303 || w.Header().Get("Location") != "/account?client_id=a" {
		t.Error(w.Code, w.Header())
	}
	if w := b.do("GET", "/account?client_id=a", nil); w.Code != 200 || strings.Contains(w.Body.String(), `action="/act"`) || strings.Contains(w.Body.String(), `href="/sql"`) || strings.Contains(w.Body.String(), `href="/audit"`) {
		t.Error(w.Code, w.Body)
	}
	if w := b.do("POST", "/sql", url.Values{"query": {"SELECT 1"}}); w.Code != 403 || asked {
		t.Error(w.Code, asked)
	}
}

func TestSQLView(t *testing.T) {
	var got string
	b := signedIn(t, &fakeAPI{}, Options{SQL: func(_ context.Context, text string, _ int) (Rows, error) {
		if text == tablesQuery {
			return Rows{Columns: []string{"name", "columns"}, Rows: [][]any{{"outbox", "seq, client_id"}}}, nil
		}
		if got = text; text == "bad" {
			return Rows{}, errors.New("no such <table>")
		}
		return Rows{Columns: []string{"x", "y"}, Rows: [][]any{{int64(1), int64(10)}, {int64(3), 2.5}}, More: true}, nil
	}})
	if w := b.do("GET", "/sql?query=DELETE", nil); w.Code != 200 || got != "" || !strings.Contains(w.Body.String(), "outbox") {
		t.Error("a link ran a statement:", got)
	}
	if w := b.do("POST", "/sql", url.Values{"query": {"SELECT"}}); got != "SELECT" || !strings.Contains(w.Body.String(), `<polyline points="0.0,0.0 300.0,60.0"/>`) || !strings.Contains(w.Body.String(), "2 rows; there are more") {
		t.Error(w.Body)
	}
	if w := b.do("POST", "/sql", url.Values{"query": {"bad"}}); w.Code != 200 || !strings.Contains(w.Body.String(), "no such &lt;table&gt;") {
		t.Error(w.Body)
	}
}

func TestLive(t *testing.T) {
	stopping := make(chan struct{})
	api := &fakeAPI{answers: map[string]string{"GET /v1/status": `{"pending":41}`}}
	b := signedIn(t, api, Options{Stopping: stopping})
	if w := b.do("GET", "/live?view=events", nil); w.Code != 404 {
		t.Error(w.Code)
	}
	close(stopping)
	n := len(api.asked)
	for range 3 { // in one second the server is asked once
		w := b.do("GET", "/live?view=overview", nil)
		if body := w.Body.String(); w.Header().Get("Content-Type") != "text/event-stream" || !strings.HasPrefix(body, "retry: 2000\nevent: update\ndata: ") || !strings.Contains(body, ">41<") || !strings.HasSuffix(body, "\n\n") {
			t.Error(w.Header(), body)
		}
	}
	if len(api.asked) != n+1 {
		t.Errorf("asked %q", api.asked[n:])
	}
}

// A view that takes long is not made each second.
func TestLiveCost(t *testing.T) {
	now := time.Now()
	c := newCache(func() time.Time { return now })
	made := 0
	for _, step := range []struct {
		after time.Duration
		made  int
	}{{0, 1}, {time.Second, 1}, {9 * time.Second, 2}, {time.Second, 2}} {
		now = now.Add(step.after)
		if _, err := c.get("a", func() ([]byte, error) { made++; now = now.Add(500 * time.Millisecond); return nil, nil }); err != nil || made != step.made {
			t.Fatalf("after %v it was made %d times, want %d: %v", step.after, made, step.made, err)
		}
	}
}

func TestHistory(t *testing.T) {
	h := &history{}
	for i := range historySize + 10 {
		h.add(Counters{Accepted: float64(i)})
	}
	plots := h.plots()
	if len(h.points) != historySize || len(plots) != 3 || plots[0].Last != "369" || !strings.HasPrefix(plots[0].Title, "Accepted a second, the last 1h") {
		t.Errorf("%d points, %+v", len(h.points), plots[:1])
	}
}
