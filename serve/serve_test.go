package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/cli"
	"inturn/functions"
	"inturn/functions/message"
	"inturn/functions/work"
	"inturn/internal/program"
)

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// flagsOf returns the flags of serve as the command line gives them.
func flagsOf(t *testing.T, args ...string) Config {
	t.Helper()
	config, err := ParseConfig(append([]string{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// shippedFunctions are those of the binary.
func shippedFunctions() []functions.Function {
	return []functions.Function{message.Function, message.Close, work.Function}
}

// inProcess is serve as a function of this process.
type inProcess struct {
	Addresses
	out, log *syncBuffer
	client   *http.Client
	cancel   context.CancelFunc
	ended    chan error
}

func serveHere(t *testing.T, list []functions.Function, args ...string) *inProcess {
	t.Helper()
	set, err := functions.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	config := flagsOf(t, args...)
	ctx, cancel := context.WithCancel(context.Background())
	p := &inProcess{out: &syncBuffer{}, log: &syncBuffer{}, cancel: cancel, ended: make(chan error, 1)}
	ready := make(chan Addresses, 1)
	go func() {
		p.ended <- serve(ctx, config, set, cli.IO{Out: p.out, Err: p.log}, func(s *Server) { ready <- s.Addr() })
		close(p.ended)
	}()
	t.Cleanup(func() { cancel(); <-p.ended })
	select {
	case p.Addresses = <-ready:
	case err := <-p.ended:
		t.Fatalf("serve ended: %v\n%s", err, p.log)
	case <-time.After(program.Patience):
		t.Fatalf("serve is not ready:\n%s", p.log)
	}
	pem, err := os.ReadFile(p.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{Transport: transport, Timeout: program.Patience}
	return p
}

// stop ends it as its caller does and returns what serve returned.
func (p *inProcess) stop(t *testing.T) error {
	t.Helper()
	p.client.CloseIdleConnections()
	p.cancel()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(program.Patience):
		t.Fatalf("serve does not end:\n%s", p.log)
		return nil
	}
}

// ask sends a request to the public address and returns status and body.
func (p *inProcess) ask(t *testing.T, method, path, body string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+p.Public+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// serve is a function: it begins, says where it is, and ends with its context.
// That it leaves no goroutine behind is asked by TestMain.
func TestServeIsAFunction(t *testing.T) {
	t.Setenv("INTURN_TOKEN", "")
	db := filepath.Join(t.TempDir(), "a", "b", "inturn.db")
	for range 2 { // again on the same file
		p := serveHere(t, shippedFunctions(), "--db", db)
		if strings.HasSuffix(p.Public, ":0") || strings.HasSuffix(p.Admin, ":0") || p.CA != filepath.Join(filepath.Dir(db), "tls", "ca.pem") {
			t.Errorf("addresses %+v", p.Addresses)
		}
		if status, body := p.ask(t, "POST", "/v1/events", chat("a", "1", "hello"), http.Header{"Prefer": {"wait=60"}}); status != 200 {
			t.Errorf("POST: %d %s", status, body)
		}
		if err := p.stop(t); err != nil {
			t.Errorf("serve returned %v", err)
		}
		type line struct{ Level, Msg, Listen, Admin, URL, DB, CA, Version string }
		var ready line
		for text := range strings.Lines(p.log.String()) {
			var l line
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				t.Errorf("a line of the log is no JSON: %s", text)
			}
			if l.Msg == "ready" {
				ready = l
			}
		}
		if ready.Msg != "ready" || ready.Level != "INFO" || ready.Listen != p.Public || ready.Admin != p.Admin || ready.URL != "https://"+p.Public ||
			ready.DB != db || ready.CA != p.CA || ready.Version != programVersion() {
			t.Errorf("the line that says ready: %+v, for %+v", ready, p.Addresses)
		}
		if out := p.out.String(); out != "" {
			t.Errorf("printed %q where there is no terminal", out)
		}
		if !strings.Contains(p.log.String(), `"msg":"stopped"`) {
			t.Errorf("log:\n%s", p.log)
		}
	}
}

// What stands in payloads, tokens and addresses of requests is in no line of the
// log, whatever comes of the event. Debug has the lines of all other levels.
func TestTheLogHasNoPayloadsAndNoTokens(t *testing.T) {
	const canary, token, wrong = "CANARY-in-a-payload", "TOKEN-that-is-right", "TOKEN-that-is-wrong"
	t.Setenv("INTURN_TOKEN", token)
	type note struct {
		Text string `json:"text"`
		N    int    `json:"n"`
	}
	quick := functions.WithPolicy(functions.Policy{Attempts: 2, InitialBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	writes := func(statement string) func(context.Context, functions.Event, note) (functions.Effect, error) {
		return func(_ context.Context, _ functions.Event, n note) (functions.Effect, error) {
			return func(tx functions.Tx) (any, error) {
				_, err := tx.ExecContext(tx.Context(), statement, n.Text)
				return n, err
			}, nil
		}
	}
	fails := func(err error) func(context.Context, functions.Event, note) (functions.Effect, error) {
		return func(context.Context, functions.Event, note) (functions.Effect, error) { return nil, err }
	}
	tables := functions.Tables(1, `CREATE TABLE noted (text TEXT NOT NULL UNIQUE CHECK (length(text) > 1000)) STRICT`)
	list := append([]functions.Function{
		functions.New("writes", writes(`SELECT ?`)),
		functions.New("refused-by-a-constraint", writes(`INSERT INTO noted VALUES (?)`), tables, quick),
		functions.New("refused-by-its-syntax", writes(`INSERT INTO none_such VALUES (?)`), quick),
		functions.New("fails", fails(errors.New("it does not work")), quick),
		functions.New("rejects", fails(functions.Reject(errors.New("it never works")))),
		functions.New("panics", func(context.Context, functions.Event, note) (functions.Effect, error) { panic("a bug") }, quick),
	}, shippedFunctions()...)
	db := filepath.Join(t.TempDir(), "inturn.db")
	p := serveHere(t, list, "--db", db, "--log-level", "debug")
	bearer := func(token string) http.Header {
		return http.Header{"Authorization": {"Bearer " + token}, "X-Request-Id": {"asked"}}
	}
	send := func(kind, payload string) string {
		return fmt.Sprintf(`{"client_id":"c-%[1]s","message_id":"m-%[1]s","type":%[1]q,"payload":%[2]s}`, kind, payload)
	}
	for _, kind := range []string{"writes", "rejects", "refused-by-a-constraint", "refused-by-its-syntax", "fails", "panics"} {
		header := bearer(token)
		if kind == "writes" || kind == "rejects" {
			header.Set("Prefer", "wait=60")
		}
		if status, body := p.ask(t, "POST", "/v1/events", send(kind, `{"text":"`+canary+`"}`), header); status != 200 && status != 202 {
			t.Errorf("%s: %d %s", kind, status, body)
		}
	}
	for _, c := range []struct {
		what, method, path, body string
		header                   http.Header
		status                   int
	}{
		{"a repeat", "POST", "/v1/events", send("writes", `{"text":"`+canary+`"}`), bearer(token), 200},
		{"another payload", "POST", "/v1/events", send("writes", `{"text":"`+canary+`2"}`), bearer(token), 422},
		{"a field of the wrong type", "POST", "/v1/events", send("writes", `{"text":"x","n":"`+canary+`"}`), bearer(token), 400},
		{"no JSON", "POST", "/v1/events", canary, bearer(token), 400},
		{"broken JSON", "POST", "/v1/events", `{"client_id":"a","payload":{"` + canary + `":` + canary, bearer(token), 400},
		{"an unknown field", "POST", "/v1/events", `{"` + canary + `":1}`, bearer(token), 400},
		{"a check of its function", "POST", "/v1/events", `{"client_id":"a","message_id":"1","payload":{"phone":"` + canary + `","text":"x"}}`, bearer(token), 400},
		{"a wrong token", "POST", "/v1/events", send("writes", `{"text":"`+canary+`"}`), bearer(wrong), 401},
		{"a token in the address", "GET", "/v1/events?token=" + token, "", bearer(token), 400},
		{"a path that is none", "GET", "/v1/" + canary + "?token=" + wrong, "", bearer(token), 404},
		{"reading it", "GET", "/v1/events/c-writes/m-writes", "", bearer(token), 200},
	} {
		if status, body := p.ask(t, c.method, c.path, c.body, c.header); status != c.status {
			t.Errorf("%s: %d, want %d: %s", c.what, status, c.status, body)
		}
	}
	// Both attempts of what fails; a parked account is told in the log.
	for _, kind := range []string{"refused-by-a-constraint", "refused-by-its-syntax", "fails", "panics"} {
		waitForParked(t, db, "c-"+kind)
	}
	if err := p.stop(t); err != nil {
		t.Errorf("serve returned %v", err)
	}
	log := p.log.String()
	for _, secret := range []string{canary, token, wrong} {
		for line := range strings.Lines(log) {
			if strings.Contains(line, secret) {
				t.Errorf("%s stands in the log: %s", secret, line)
			}
		}
	}
	// It does say what happened, and to which event.
	for _, want := range []string{"it does not work", "it never works", "a bug", "CHECK constraint failed", "no such table",
		`"client_id":"c-fails"`, `"message_id":"m-fails"`, `"request_id":"asked"`, `"status":401`, `"status":422`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not have %s:\n%s", want, log)
		}
	}
}

// waitForParked returns when the account is parked.
func waitForParked(t *testing.T, file, clientID string) {
	t.Helper()
	query := fmt.Sprintf("SELECT parked FROM accounts WHERE client_id = '%s'", clientID)
	for limit := time.Now().Add(program.Patience); time.Now().Before(limit); {
		var out bytes.Buffer
		status := execute(nil, []string{"query", "--csv", "--db", file, query}, &out, io.Discard)
		if status == 0 && out.String() == "parked\n1\n" {
			return
		}
	}
	t.Fatalf("%s is not parked", clientID)
}
