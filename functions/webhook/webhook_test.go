package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"inturn/db"
	"inturn/functions"
	"inturn/functions/functionstest"
)

func secret(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 24)))
}

// seen is a request as an endpoint got it.
type seen struct {
	method, path string
	header       http.Header
	body         string
}

// fixture is a function of type "t" whose endpoint is a handler of the test.
type fixture struct {
	t     *testing.T
	srv   *httptest.Server
	hooks *Webhooks
	work  func(context.Context, functions.Event) (functions.Effect, error)

	mu    sync.Mutex
	seen  []seen
	conns int // that were opened
}

func newFixture(t *testing.T, o Options, handler http.HandlerFunc) *fixture {
	t.Helper()
	x := &fixture{t: t}
	x.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		x.mu.Lock()
		x.seen = append(x.seen, seen{r.Method, r.URL.RequestURI(), r.Header, string(body)})
		x.mu.Unlock()
		handler(w, r)
	}))
	x.srv.Config.ConnState = x.connState
	x.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	x.srv.Start()
	t.Cleanup(x.srv.Close)
	x.call(x.srv.URL+"/in?key=hidden", o)
	return x
}

// call makes the function for a URL.
func (x *fixture) call(url string, o Options) {
	x.t.Helper()
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 8
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Epoch == nil {
		o.Epoch = func() int64 { return 1 }
	}
	o.Log, o.Version = slog.New(slog.NewTextHandler(x.t.Output(), nil)), "9.9"
	targets, err := ParseTargets([]string{"t=" + url}, false)
	if err != nil {
		x.t.Fatal(err)
	}
	if x.hooks, err = New(targets, o); err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(x.hooks.Close)
	x.work = x.hooks.Functions()[0].Work
}

func (x *fixture) endpoint() *endpoint {
	for _, e := range x.hooks.endpoints {
		return e
	}
	return nil
}

func (x *fixture) connState(_ net.Conn, s http.ConnState) {
	if s == http.StateNew {
		x.mu.Lock()
		x.conns++
		x.mu.Unlock()
	}
}

// do runs one attempt and returns its result as the file would have it.
func (x *fixture) do(ev functions.Event) (string, error) {
	effect, err := x.work(x.t.Context(), ev)
	if err != nil || effect == nil {
		return "", err
	}
	out, err := effect(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil {
		x.t.Fatal(err)
	}
	return string(b), nil
}

var tea = functions.Event{
	ClientID: "anna", MessageID: "m1", Type: "t", Payload: []byte(`{"sku":"tea","n":12345678901234567890}`), RequestID: "req-1",
	Attrs: []byte(`{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`),
	Seq:   17, Run: 1, Attempt: 1, ReceivedAt: time.Date(2026, 11, 22, 1, 2, 3, 4000, time.UTC),
}

func TestWhatAnEndpointGets(t *testing.T) {
	epoch := int64(99)
	x := newFixture(t, Options{Secrets: map[string][]string{"t": {secret('n'), secret('o')}}, Epoch: func() int64 { return epoch }},
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	again, redriven, other := tea, tea, tea
	again.Attempt, redriven.Run, other.MessageID = 2, 2, "m2"
	for i, ev := range []functions.Event{tea, again, redriven, other} {
		if i == 2 {
			epoch++
		}
		if result, err := x.do(ev); result != "" || err != nil {
			t.Fatalf("%q, %v", result, err)
		}
	}
	r := x.seen[0]
	if r.method != "POST" || r.path != "/in?key=hidden" {
		t.Errorf("%s %s", r.method, r.path)
	}
	want := `{"specversion":"1.0","id":"m1","source":"anna","type":"t","partitionkey":"anna","time":"2026-11-22T01:02:03.000004Z","datacontenttype":"application/json",` +
		`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":{"sku":"tea","n":12345678901234567890}}`
	if r.body != want {
		t.Errorf("the body is\n%s\nwant\n%s", r.body, want)
	}
	for name, pattern := range map[string]string{
		"Content-Type":      `application/cloudevents\+json; charset=utf-8`,
		"User-Agent":        `inturn/9\.9`,
		"Inturn-Attempt":    `1`,
		"Inturn-Seq":        `17`,
		"Inturn-Fence":      `[0-9]{13}-[0-9]{13}`,
		"Traceparent":       `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`,
		"X-Request-Id":      `req-1`,
		"Webhook-Id":        `msg_[0-9a-f]{32}`,
		"Webhook-Timestamp": `[0-9]{10}`,
		"Webhook-Signature": `v1,\S+ v1,\S+`,
	} {
		if got := r.header.Values(name); len(got) != 1 || !regexp.MustCompile("^"+pattern+"$").MatchString(got[0]) {
			t.Errorf("%s: %q, want %s", name, got, pattern)
		}
	}
	for _, name := range []string{"Idempotency-Key", "Accept-Encoding", "Cookie", "Referer"} {
		if got := r.header.Values(name); len(got) > 0 && got[0] != "identity" {
			t.Errorf("%s: %q", name, got)
		}
	}
	// Whoever has either secret can verify it; whoever has another can't.
	for _, s := range x.seen {
		for key, good := range map[byte]bool{'n': true, 'o': true, 'x': false} {
			wh, err := standardwebhooks.NewWebhook(secret(key))
			if err != nil {
				t.Fatal(err)
			}
			if err := wh.Verify([]byte(s.body), s.header); (err == nil) != good {
				t.Errorf("secret %c: %v", key, err)
			}
		}
	}
	// A delivery is one run: its id and body are the same in each attempt.
	id := func(i int) string { return x.seen[i].header.Get("Webhook-Id") }
	if id(0) != id(1) || x.seen[0].body != x.seen[1].body || x.seen[1].header.Get("Inturn-Attempt") != "2" {
		t.Errorf("the second attempt has id %s and body %s", id(1), x.seen[1].body)
	}
	if id(0) == id(2) || id(0) == id(3) || id(2) == id(3) {
		t.Errorf("another run, or another event, has the same id: %s, %s, %s", id(0), id(2), id(3))
	}
	for i := range 3 {
		if a, b := x.seen[i].header.Get("Inturn-Fence"), x.seen[i+1].header.Get("Inturn-Fence"); a >= b {
			t.Errorf("the fence does not grow: %s, %s", a, b)
		}
	}
	if x.conns != 1 {
		t.Errorf("%d connections for %d calls one after another", x.conns, len(x.seen))
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	if _, err := x.do(tea); err != nil {
		t.Fatal(err)
	}
	if h := x.seen[0].header; h.Get("Webhook-Signature") != "" || h.Get("Webhook-Id") == "" {
		t.Errorf("%v", h)
	}
}

// outcome is what an attempt means to the runner.
func outcome(err error) string {
	if e, ok := errors.AsType[*functions.RetryError](err); ok {
		return "retry after " + e.After.String()
	}
	if _, ok := errors.AsType[*functions.RejectError](err); ok {
		return "dead"
	}
	if _, ok := errors.AsType[*functions.ParkError](err); ok {
		return "park"
	}
	if _, ok := errors.AsType[*functions.PostponeError](err); ok {
		return "postpone"
	}
	if err != nil {
		return "retry"
	}
	return "done"
}

func TestWhatAnAnswerMeans(t *testing.T) {
	for _, c := range []struct {
		status  int
		header  string
		attempt int
		want    string
	}{
		{200, "", 1, "done"}, {201, "", 1, "done"}, {202, "", 1, "done"}, {204, "", 1, "done"}, {299, "", 1, "done"},
		{400, "", 1, "dead"}, {413, "", 1, "dead"}, {415, "", 1, "dead"}, {422, "", 1, "dead"},
		{410, "", 1, "park"},
		{429, "Retry-After: 7", 1, "retry after 7s"}, {503, "Retry-After: 7", 1, "retry after 7s"},
		{429, "Retry-After: 0", 1, "retry after 1s"}, {503, "Retry-After: 99999999999", 1, "retry after 1h0m0s"},
		{503, "Retry-After: 1", 10, "retry after 2m30s"}, // never sooner than the policy's least wait
		{429, "", 1, "retry"}, {503, "Retry-After: soon", 1, "retry"},
		{500, "Retry-After: 7", 1, "retry"}, {413, "Retry-After: 7", 1, "dead"},
		{401, "", 1, "retry"}, {402, "", 1, "retry"}, {403, "", 1, "retry"}, {404, "", 1, "retry"}, {405, "", 1, "retry"}, {406, "", 1, "retry"},
		{408, "", 1, "retry"}, {409, "", 1, "retry"}, {421, "", 1, "retry"}, {425, "", 1, "retry"}, {431, "", 1, "retry"}, {451, "", 1, "retry"},
		{500, "", 1, "retry"}, {501, "", 1, "retry"}, {502, "", 1, "retry"}, {504, "", 1, "retry"}, {599, "", 1, "retry"}, {600, "", 1, "retry"}, {999, "", 1, "retry"},
		{300, "", 1, "retry"}, {301, "Location: /x", 1, "retry"}, {302, "Location: /x", 1, "retry"}, {303, "Location: /x", 1, "retry"}, {304, "", 1, "retry"},
		{307, "", 1, "retry"}, {308, "Location: http://[", 1, "retry"},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.header, " ", c.attempt), func(t *testing.T) {
			x := newFixture(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
				if name, value, ok := strings.Cut(c.header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(c.status)
				io.WriteString(w, "because\r\n of\u2028this\x00")
			})
			ev := tea
			ev.Attempt = c.attempt
			_, err := x.do(ev)
			if got := outcome(err); got != c.want {
				t.Fatalf("%s (%v), want %s", got, err, c.want)
			}
			if err == nil {
				return
			}
			if text := err.Error(); strings.ContainsAny(text, "\r\n\x00\u2028") || strings.Contains(text, "hidden") || len(text) > 1000 {
				t.Errorf("the error reads %q", text)
			}
			if text := err.Error(); c.status != 304 && c.status != 307 && c.status != 308 && !strings.Contains(text, fmt.Sprintf("answered %d: because of this", c.status)) {
				t.Errorf("the error reads %q", text)
			}
		})
	}
}

// A connection is used again after a failure too.
func TestConnectionsAreKept(t *testing.T) {
	statuses := []int{500, 404, 429, 422, 302, 200}
	n := 0
	x := newFixture(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(statuses[n%len(statuses)])
		n++
		io.WriteString(w, strings.Repeat("x", 40_000))
	})
	for range 4 * len(statuses) {
		_, _ = x.do(tea) // what it is worth is judged elsewhere
	}
	if len(x.seen) != 4*len(statuses) || x.conns != 1 {
		t.Errorf("%d calls on %d connections", len(x.seen), x.conns)
	}
}

// An endpoint that closes a kept connection just as the next call comes costs no attempt.
func TestAKeptConnectionThatIsClosed(t *testing.T) {
	var last sync.Map
	x := newFixture(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if _, used := last.LoadOrStore(r.RemoteAddr, true); used {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			c.Close()
			return
		}
		io.WriteString(w, "1")
	})
	for range 3 {
		if result, err := x.do(tea); result != "1" || err != nil {
			t.Errorf("%q, %v", result, err)
		}
	}
	if len(x.seen) != 5 || x.seen[1].header.Get("Webhook-Id") != x.seen[2].header.Get("Webhook-Id") {
		t.Errorf("%d requests", len(x.seen))
	}
}

func TestHTTP2(t *testing.T) {
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	var mu sync.Mutex
	protos := map[string]int{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		protos[r.Proto]++
		mu.Unlock()
		io.WriteString(w, `{"ok":true}`)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ConnState = x.connState
	srv.StartTLS()
	defer srv.Close()
	x.call(srv.URL, Options{})
	x.endpoint().client.Transport.(*http.Transport).TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	if _, err := x.do(tea); err != nil { // the connection is there
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			ev := tea
			ev.ClientID = fmt.Sprint(i)
			if result, err := x.do(ev); result != `{"ok":true}` || err != nil {
				t.Errorf("%q, %v", result, err)
			}
		})
	}
	all.Wait()
	if protos["HTTP/2.0"] != 51 || x.conns != 1 {
		t.Errorf("%v on %d connections", protos, x.conns)
	}
	x.hooks.Close()
}

func TestRedirects(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another host was called") }))
	defer elsewhere.Close()
	hops := 0
	x := newFixture(t, Options{Secrets: map[string][]string{"t": {secret('n')}}}, func(w http.ResponseWriter, r *http.Request) {
		to, status := r.URL.Query().Get("to"), http.StatusTemporaryRedirect
		switch r.URL.Path {
		case "/308":
			status = http.StatusPermanentRedirect
		case "/302":
			status = http.StatusFound
		case "/loop":
			hops++
			to = "/loop"
		case "/end":
			io.WriteString(w, "1")
			return
		}
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	})
	for path, want := range map[string]string{
		"/307?to=/end": "done", "/308?to=/end": "done", "/307?to=end%3Fx": "done",
		"/302?to=/end": "retry", "/loop": "retry",
		"/307?to=" + elsewhere.URL:                                                                  "retry",
		"/308?to=" + elsewhere.URL + "/end":                                                         "retry",
		"/307?to=//" + elsewhere.Listener.Addr().String() + "/":                                     "retry",
		"/307?to=" + strings.Replace(x.srv.URL, "http", "https", 1):                                 "retry",
		"/307?to=ftp://127.0.0.1/":                                                                  "retry",
		"/307?to=" + strings.Replace(x.srv.URL, "127.0.0.1", "user:password@127.0.0.1", 1) + "/end": "retry",
	} {
		x.seen = nil
		x.call(x.srv.URL+path, Options{Secrets: map[string][]string{"t": {secret('n')}}})
		result, err := x.do(tea)
		if got := outcome(err); got != want || want == "done" && result != "1" {
			t.Errorf("%s: %s %q (%v), want %s", path, got, result, err, want)
		}
		first, last := x.seen[0], x.seen[len(x.seen)-1]
		if want == "done" && (last.method != "POST" || last.body != first.body || last.header.Get("Webhook-Signature") != first.header.Get("Webhook-Signature") || last.body == "") {
			t.Errorf("%s: at the end %+v came", path, last)
		}
	}
	if hops != maxRedirects+1 {
		t.Errorf("%d requests in a loop of redirects", hops)
	}
}

func TestEndpointsThatDontAnswer(t *testing.T) {
	stop := make(chan struct{})
	drip := func(w http.ResponseWriter, text string, head string) {
		c, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		buf.WriteString(head)
		for buf.Flush() == nil {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				buf.WriteString(text)
			}
		}
	}
	handlers := map[string]http.HandlerFunc{
		"hangs":       func(http.ResponseWriter, *http.Request) { <-stop },
		"slow header": func(w http.ResponseWriter, _ *http.Request) { drip(w, "x", "HTTP/1.1 200 OK\r\nX: ") },
		"slow body": func(w http.ResponseWriter, _ *http.Request) {
			drip(w, "x", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
		},
		"slow body of a failure": func(w http.ResponseWriter, _ *http.Request) {
			drip(w, "x", "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n")
		},
		"endless 1xx": func(w http.ResponseWriter, _ *http.Request) {
			drip(w, "HTTP/1.1 102 Processing\r\n\r\n", "")
		},
	}
	var all sync.WaitGroup
	for name, handler := range handlers {
		x := newFixture(t, Options{Timeout: 300 * time.Millisecond}, handler)
		all.Go(func() {
			_, err := x.do(tea)
			if outcome(err) != "retry" {
				t.Errorf("%s: %v", name, err)
			} else if name != "endless 1xx" && name != "slow body of a failure" && !errors.Is(err, errTimeout) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	close(stop)
}

func TestAnswersThatAreNotWhole(t *testing.T) {
	for name, raw := range map[string]string{
		"endless":             "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", functions.MaxResult+1),
		"longer than it says": "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + strings.Repeat("x", functions.MaxResult+1),
		"breaks off":          "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":1}",
		"breaks off, chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\"a\"\r\n",
		"a long header":       "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHeader+1024) + "\r\n\r\n",
		"no HTTP":             "hello\r\n\r\n",
		"nothing":             "",
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n11",
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
				c, buf, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				defer c.Close()
				buf.WriteString(raw)
				buf.Flush()
			})
			result, err := x.do(tea)
			if outcome(err) != "retry" || result != "" {
				t.Errorf("%q, %v", result, err)
			}
		})
	}
}

// The server's end is not the endpoint's fault, and no attempt of the event.
func TestToldToStop(t *testing.T) {
	begun := make(chan struct{}, 1)
	stop := make(chan struct{})
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) { begun <- struct{}{}; <-stop })
	defer close(stop)
	for i := range 2 * trips {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-begun; cancel() }()
		ev := tea
		ev.ClientID = fmt.Sprint(i)
		if _, err := x.work(ctx, ev); !errors.Is(err, context.Canceled) || outcome(err) != "retry" {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

func TestAnEndpointThatIsNotThere(t *testing.T) {
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	x.srv.Close()
	if x.hooks.Down()["t"] {
		t.Error("it is down before anybody has called it")
	}
	_, err := x.do(tea)
	if down, ok := x.hooks.Down()["t"]; !down || !ok {
		t.Error("nobody is told that it is down")
	}
	if outcome(err) != "retry" || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	other := tea
	other.ClientID = "bert"
	if _, err := x.do(other); outcome(err) != "postpone" {
		t.Errorf("the next account: %v", err)
	}
}

// On the engine: what each outcome does to the event and its account.
func TestOnTheEngine(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	said := map[string]int{}
	x := newFixture(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("Webhook-Id")
		mu.Lock()
		said[id]++
		mu.Unlock()
		switch n, _ := strconv.Atoi(r.Header.Get("Inturn-Seq")); n {
		case 1:
			io.WriteString(w, ` { "cents" : 450 } `)
		case 2:
			http.Error(w, "no such tea", http.StatusUnprocessableEntity)
		case 3:
			if r.Header.Get("Inturn-Attempt") == "1" {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			io.WriteString(w, "thanks")
		case 4:
			w.WriteHeader(http.StatusGone)
		}
	})
	e := functionstest.New(t, x.hooks.Functions()...)
	t.Cleanup(x.hooks.Close) // before the engine looks for what is left over
	send := func(client, id string) functions.Event {
		return functions.Event{ClientID: client, MessageID: id, Type: "t", Payload: []byte(`[1]`)}
	}
	if got := e.Do(send("anna", "1")); got.State != "done" || string(got.Result.Output) != `{"cents":450}` {
		t.Errorf("%s %+v", got.State, got.Result)
	}
	if got := e.Do(send("anna", "2")); got.State != "dead" || got.Result.Error != "the endpoint answered 422: no such tea" {
		t.Errorf("%s %+v", got.State, got.Result)
	}
	if got := e.Do(send("anna", "3")); got.State != "done" || string(got.Result.Output) != `"thanks"` || got.Result.Attempts != 2 {
		t.Errorf("%s %+v", got.State, got.Result)
	}
	e.Send(send("bert", "4"))
	if got := e.Do(send("anna", "5")); got.State != "done" || got.Result.Output != nil {
		t.Errorf("%s %+v", got.State, got.Result)
	}
	for len(e.Query(`SELECT 1 FROM accounts WHERE client_id = 'bert' AND parked = 1 AND last_error = 'the endpoint answered 410'`)) == 0 {
		time.Sleep(time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal("bert is not parked")
		}
	}
	if len(said) != 5 {
		t.Errorf("%d deliveries, want 5", len(said))
	}
}

// While the endpoint is away hundreds of accounts wait for it, and hardly any of them
// uses up an attempt; when it comes all go on, each in its order.
func TestHundredsOfAccountsWait(t *testing.T) {
	t.Parallel()
	const accounts, each, maxConcurrent = 500, 3, 8
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	x.srv.Close()
	addr := x.srv.Listener.Addr().String()
	x.call("http://"+addr, Options{MaxConcurrent: maxConcurrent})
	e := functionstest.New(t, x.hooks.Functions()...)
	t.Cleanup(x.hooks.Close)
	var last []db.Receipt
	for n := range each {
		last = last[:0]
		for a := range accounts {
			last = append(last, e.Send(functions.Event{ClientID: fmt.Sprint(a), MessageID: fmt.Sprint(n), Type: "t", Payload: []byte(fmt.Sprint(n))}))
		}
	}
	// All have had their turn since, or wait for it.
	for len(e.Query(`SELECT 1 FROM accounts WHERE last_error LIKE 'no connection: %'`)) == 0 {
		time.Sleep(10 * time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal("nobody tries the endpoint")
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	next, wrong := map[string]int{}, 0
	srv := http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var ev struct {
			Source string
			Data   int
		}
		mu.Lock()
		defer mu.Unlock()
		if json.NewDecoder(r.Body).Decode(&ev) != nil || ev.Data != next[ev.Source] {
			wrong++
		}
		next[ev.Source] = ev.Data + 1
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-served })
	for _, r := range last {
		e.Wait(r)
	}
	mu.Lock()
	defer mu.Unlock()
	if wrong > 0 || len(next) != accounts {
		t.Errorf("%d events of %d accounts came out of order", wrong, len(next))
	}
	rows := e.Query(`SELECT sum(attempts), max(attempts) FROM results`)
	t.Logf("%d events: attempts in all, and at most of one: %v", accounts*each, rows[0])
	// One for each event, those that were under way when it was found out, and the few
	// that were let through.
	if all := rows[0][0].(int64); all > accounts*each+maxConcurrent+20 {
		t.Errorf("%d attempts for %d events", all, accounts*each)
	}
}
