package serve

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// visitor is a browser at the admin address, as far as HTTP goes.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
	header http.Header
}

func visit(t *testing.T, p *inProcess) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: t, base: "http://" + p.Admin, client: &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute}}
}

// do sends a form, or without one a GET, and returns status and text.
func (v *visitor) do(path string, form url.Values) (int, string) {
	v.t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range v.header {
		req.Header[name] = values
		if name == "Host" {
			req.Host = values[0]
		}
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (v *visitor) want(path string, form url.Values, status int, texts ...string) {
	v.t.Helper()
	got, body := v.do(path, form)
	if got != status {
		v.t.Fatalf("%s %v: %d, want %d\n%s", path, form, got, status, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			v.t.Errorf("%s %v: no %q in\n%s", path, form, text, body)
		}
	}
}

// The page's verbs are the API's: what they do is done, and in the audit.
func TestPage(t *testing.T) {
	p := serveHere(t, shippedFunctions(), "--db", t.TempDir()+"/inturn.db")
	post := func(body string) {
		t.Helper()
		if status, text := p.ask(t, "POST", "/v1/events", body, http.Header{"Prefer": {"wait=30"}}); status != 200 {
			t.Fatal(status, text)
		}
	}
	post(`{"client_id":"ann/é?","message_id":"1","type":"work","payload":{"ms":0,"x":"<b>"}}`)
	v := visit(t, p)
	for _, path := range []string{"/", "/accounts", "/accounts?sort=pending", "/events", "/dead", "/audit", "/sql", "/static/page.js", "/static/page.css", "/static/icon.svg"} {
		v.want(path, nil, 200)
	}
	id := url.Values{"client_id": {"ann/é?"}}
	v.want("/account?"+id.Encode(), nil, 200, "ann/é?", "state idle", "Nothing is pending")
	v.want("/event?message_id=1&"+id.Encode(), nil, 200, `&#34;x&#34;: &#34;&lt;b&gt;&#34;`)
	act := func(verb string, more ...string) url.Values {
		form := url.Values{"verb": {verb}, "client_id": id["client_id"], "reason": {"for " + verb}, "key": {"k-" + verb}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	v.want("/act", act("pause"), 200, "Done: pause account ann/é?", "entry 1")
	v.want("/act", act("pause"), 200, "entry 1") // sent twice, done once
	if status, text := p.ask(t, "POST", "/v1/events", `{"client_id":"ann/é?","message_id":"2","type":"work","payload":{"ms":0}}`, nil); status != 202 {
		t.Fatal(status, text)
	}
	v.want("/account?"+id.Encode(), nil, 200, "state paused", `class="head"`)
	v.want("/act", act("skip", "seq", "7"), 409, "head is seq 2")
	v.want("/act", act("skip", "seq", "2"), 200, "Done")
	v.want("/dead", nil, 200, "skipped by anyone: for skip")
	v.want("/act", act("redrive"), 200, "<b>1</b> event would run again")
	v.want("/act", act("redrive", "confirmed", "1"), 200, "1 of them")
	v.want("/act", act("resume"), 200, "Done")
	v.want("/act", act("replay", "from", "1", "to", "1"), 200, "<b>1</b> event would")
	v.want("/act", act("replay", "from", "1", "to", "1", "confirmed", "1"), 200, "Done")
	v.want("/audit", nil, 200, "for pause", "for skip", "for redrive", "for resume", "for replay")
	v.want("/sql", url.Values{"query": {"SELECT client_id, 5 FROM outbox"}}, 200, "ann/é?", "2 rows")
	v.want("/sql", url.Values{"query": {"DELETE FROM outbox"}}, 200, "only one statement that reads is run")
	v.want("/act", act("erase", "typed", "ann"), 400, "type its client_id")
	v.want("/act", act("erase", "typed", "ann/é?"), 200, "Done: erase account")
	v.want("/account?"+id.Encode(), nil, 404)

	v.want("/nothing", nil, 404)
	v.want("/static/../page.go", nil, 404)
	v.want("/static/%2e%2e%2fpage.go", nil, 404)
	for name, header := range map[string]http.Header{
		"another site's form": {"Sec-Fetch-Site": {"cross-site"}}, "another origin": {"Origin": {"http://evil.example"}}, "another port": {"Origin": {"http://127.0.0.1:1"}}, "no origin": {"Origin": {"null"}},
	} {
		v.header = header
		if status, text := v.do("/act", act("pause")); status != http.StatusForbidden || !strings.Contains(text, "cross-origin") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	v.header = http.Header{"Host": {"evil.example"}} // a name that was made to point here
	if status, _ := v.do("/", nil); status != http.StatusMisdirectedRequest {
		t.Error(status)
	}
}

// With tokens the page asks for one, and shows and does what that allows.
func TestPageWithTokens(t *testing.T) {
	t.Setenv("INTURN_TOKEN", "0123456789abcdef0123456789abcdef")
	p := serveHere(t, shippedFunctions(), "--db", t.TempDir()+"/inturn.db")
	v := visit(t, p)
	v.want("/events", nil, 401, `name="token"`, `value="/events"`)
	v.want("/act", url.Values{"verb": {"pause"}, "reason": {"x"}}, 401)
	v.want("/login", url.Values{"token": {"0123456789abcdef0123456789abcdeX"}}, 401, "not known")
	v.want("/login", url.Values{"token": {"0123456789abcdef0123456789abcdef"}, "next": {"/events"}}, 200, "<h1>Events</h1>", "INTURN_TOKEN (ingest, read, operate)")
	v.want("/act", url.Values{"verb": {"pause"}, "reason": {"x"}}, 200, "Done: pause everything")
	v.want("/audit", nil, 200, "INTURN_TOKEN")
	v.want("/logout", url.Values{}, 401, `name="token"`)
	v.header = http.Header{"Authorization": {"Bearer 0123456789abcdef0123456789abcdef"}}
	v.want("/", nil, 200, "everything is paused")
}
