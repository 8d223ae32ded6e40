package proofs

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"inturn/db/sqlite/file"
)

// pythons is an endpoint in another language, testdata/endpoint.py.
type pythons struct {
	t         *testing.T
	python    string
	port      string // "0" before it has one
	log       string
	elsewhere string // where it redirects to
	cmd       *exec.Cmd
}

func hookSecret(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
}

// start runs it, on the port that it had before.
func (p *pythons) start(secret string) {
	p.t.Helper()
	p.cmd = exec.Command(p.python, "-I", "testdata/endpoint.py", p.port, p.log, p.elsewhere)
	p.cmd.Env = append(environment(), "SECRET="+secret)
	p.cmd.SysProcAttr = endsWithParent()
	p.cmd.Stderr = p.t.Output()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd := p.cmd
	p.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.t.Fatalf("the endpoint does not start: %v", err)
	}
	p.port = strings.TrimSpace(line)
}

// kill ends it as a crash would.
func (p *pythons) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// arrival is a line of its log.
type arrival struct {
	Refused string // of a request whose signature is wrong: its webhook-id

	Account, ID, Fence, Path, Agent, Sum, Trouble, Version string
	N, Attempt                                             int
	Stale                                                  bool
}

func (p *pythons) arrivals() (all []arrival) {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var a arrival
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			p.t.Fatalf("line %q of the endpoint's log: %v", line, err)
		}
		all = append(all, a)
	}
	return all
}

// nobody listens, and counts the connections.
func nobody(t *testing.T) (addr string, came *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String(), came
}

// troubles are what the first attempts of some events find.
var troubles = []string{"429", "401", "404", "500", "413", "hang", "here", "elsewhere", "endless", "slow", "cut", "503", "408"}

// An endpoint in another language that verifies signatures, makes all kinds of trouble,
// first has a wrong secret, and is killed and restarted in the middle: by its own log the
// order of each account is strict, every event arrives, and what arrives twice has the
// same id and is the same.
func TestWebhook(t *testing.T) {
	t.Parallel()
	const accounts, each = 30, 10
	dir := t.TempDir()
	other, came := nobody(t)
	p := &pythons{t: t, python: needTool(t, "python3"), port: "0", log: filepath.Join(t.TempDir(), "log"), elsewhere: "http://" + other + "/"}
	p.start(hookSecret('x')) // another secret than ours
	in := startWith(t, []string{"INTURN_FUNCTION_SECRET_HOOK=" + hookSecret('n') + " " + hookSecret('o')}, dir,
		"--function", "hook=http://127.0.0.1:"+p.port+"/", "--function-timeout", "1s")
	url, c := in.ready(), dial(t, dir)

	var events []event
	for n := range each {
		for a := range accounts {
			ev := event{client: fmt.Sprint("c", a), id: fmt.Sprint("m", n), typ: "hook", n: n, payload: fmt.Sprintf(`{"n":%d}`, n)}
			if n%5 == 3 { // two of each account, each trouble more than once
				ev.payload = fmt.Sprintf(`{"n":%d,"trouble":%q}`, n, troubles[(n/5*accounts+a)%len(troubles)])
			}
			events = append(events, ev)
		}
	}
	for n := range 4 { // parked at its third event
		payload := fmt.Sprintf(`{"n":%d}`, n)
		if n == 2 {
			payload = `{"n":2,"trouble":"410"}`
		}
		events = append(events, event{client: "gone", id: fmt.Sprint("m", n), typ: "hook", n: n, payload: payload})
	}
	for i, ev := range events {
		a, err := c.post(context.Background(), url, ev)
		if err != nil || !a.taken() {
			t.Fatalf("%s %s: %+v, %v", ev.client, ev.id, a, err)
		}
		events[i].seq = a.Seq
	}
	// The wrong secret is no event's fault: all stay where they are.
	eventually(t, "refusals of all accounts", func() bool {
		ids := map[string]bool{}
		for _, a := range p.arrivals() {
			ids[a.Refused] = true
		}
		return len(ids) >= accounts+1
	})
	p.kill()
	refused := len(p.arrivals())
	p.start(hookSecret('o')) // the older of ours
	eventually(t, "a part of the events", func() bool { return len(p.arrivals()) >= refused+accounts*each/3 })
	p.kill()
	killedAt := len(p.arrivals())
	p.start(hookSecret('n'))

	// What is left is parked, until a person has mended the endpoint.
	file, err := file.OpenReadOnly(t.Context(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	count := func(query string) (n int) {
		if err := file.QueryRow(query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "the end of what is not parked", func() bool { return count(`SELECT count(*) FROM pending WHERE client_id <> 'gone'`) == 0 })
	eventually(t, "the parked account", func() bool {
		return count(`SELECT count(*) FROM accounts WHERE client_id = 'gone' AND parked = 1 AND last_error LIKE 'the endpoint answered 410%'`) == 1
	})
	if err := os.WriteFile(p.log+".mended", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/accounts/gone/retry",
		strings.NewReader(fmt.Sprintf(`{"seq":%d,"reason":"mended"}`, events[len(events)-2].seq)))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := c.do(r); err != nil || a.Status != 200 {
		t.Fatalf("retry: %+v, %v", a, err)
	}
	drained(t, dir)
	in.signal(15)
	if status := in.ends(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if out, err := inturn(t, "check", "--db", dbFile(dir)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}

	// By the endpoint's own log.
	all := p.arrivals()
	type delivery struct{ id, sum string }
	last, fence, deliveries, found := map[string]int{}, map[string]string{}, map[string]delivery{}, map[string]int{}
	doubles, stale := 0, 0
	for i, a := range all {
		if a.Refused != "" {
			if i >= refused {
				t.Errorf("line %d: with a good secret %s was refused", i, a.Refused)
			}
			continue
		}
		if i < refused || !strings.HasPrefix(a.Agent, "inturn/") {
			t.Errorf("line %d: %+v", i, a)
		}
		if a.Stale {
			stale++ // the endpoint saw by its fence that it came late, and did nothing
			continue
		}
		if found[a.Trouble]++; a.Fence < fence[a.Account] {
			t.Errorf("line %d: the fence of %s is %s after %s", i, a.Account, a.Fence, fence[a.Account])
		}
		fence[a.Account] = a.Fence
		at, was := a.Account+" "+strconv.Itoa(a.N), last[a.Account]
		d, known := deliveries[at]
		switch {
		case known && a.N != was-1:
			t.Errorf("line %d: %s came again after its successor", i, at)
		case !known && a.N != was:
			t.Errorf("line %d: %s came when event %d was due", i, at, was)
		case known && d != delivery{a.ID, a.Sum}:
			t.Errorf("line %d: %s came again as %s %s, and was %s %s", i, at, a.ID, a.Sum, d.id, d.sum)
		case known:
			doubles++
		}
		deliveries[at], last[a.Account] = delivery{a.ID, a.Sum}, max(was, a.N+1)
	}
	if len(deliveries) != len(events) {
		t.Errorf("%d events have arrived, want all %d", len(deliveries), len(events))
	}
	ids := map[string]string{}
	for at, d := range deliveries {
		if other, ok := ids[d.id]; ok {
			t.Errorf("%s and %s have the same id", at, other)
		}
		ids[d.id] = at
	}
	for _, trouble := range append(troubles, "410") {
		if found[trouble] == 0 {
			t.Errorf("nobody met the trouble %s", trouble)
		}
	}
	if came.Load() != 0 {
		t.Errorf("a redirect to another host was followed %d times", came.Load())
	}
	if refused <= accounts || killedAt >= len(all) {
		t.Errorf("of %d requests %d were refused, and the endpoint was killed after %d", len(all), refused, killedAt)
	}

	// By the file: only what the endpoint refused for good is set aside.
	left := read(t, dbFile(dir))
	most := int64(0)
	for _, ev := range events {
		s, want := left.events[key(ev.client, ev.id)], "done"
		if strings.Contains(ev.payload, `"413"`) {
			want = "dead"
		}
		if most = max(most, s.attempts); s.status != want {
			t.Errorf("%s %s is %q, want %q: %s", ev.client, ev.id, s.status, want, ev.payload)
		}
	}
	t.Logf("%d requests: %d refused, %d doubles, %d late; at most %d attempts of one event", len(all), refused, doubles, stale, most)
	for _, line := range in.lines {
		if strings.Contains(line.text, "whsec_") {
			t.Errorf("a secret is in the log: %s", line.text)
		}
	}
}

// What one inturn hands to another keeps its identity, however it came in.
func TestWebhookToAnother(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	to := t.TempDir()
	second := start(t, to, "--tls", "off", "--function", "relay=http://"+closed.Addr().String(), "--drain", "0s")
	from := t.TempDir()
	first := start(t, from, "--function", "relay=http://"+second.says("ready").Listen+"/v1/events")
	url, c := first.ready(), dial(t, from)
	send := func(body string, header ...string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/events", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		if a, err := c.do(r); err != nil || !a.taken() {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	send(`{"client_id":"a b/я","message_id":"m 1","type":"relay","payload":{"x":[1,"<"]}}`, "Content-Type", "application/json", "X-Request-ID", "here-1")
	send(`{"specversion":"1.0","id":"1","source":"/shop","type":"relay","subject":"s","data":7}`, "Content-Type", "application/cloudevents+json",
		"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	send(`{"specversion":"1.0","id":"1","source":"/shop","partitionkey":"anna","type":"relay"}`, "Content-Type", "application/cloudevents+json")
	send(`{"n":1}`, "Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "2", "ce-source", "/shop", "ce-partitionkey", "anna", "ce-type", "relay")
	for _, client := range []string{"42:7", "a%b", "Anna Müller", "urn:inturn:account:x", "#"} { // no URI-references, or not ours
		send(fmt.Sprintf(`{"client_id":%q,"message_id":"m1","type":"relay","payload":null}`, client), "Content-Type", "application/json")
	}
	drained(t, from)
	first.stops()
	second.signal(15)
	second.ends()
	const identity = `SELECT client_id, message_id, type, payload, request_id, coalesce(json_extract(attrs, '$.traceparent'), ''), coalesce(json_extract(attrs, '$.subject'), '')
		FROM outbox ORDER BY client_id, message_id`
	table := func(dir string) string {
		out, err := inturn(t, "query", "--csv", "--db", dbFile(dir), identity)
		if err != nil {
			t.Fatalf("query: %v\n%s", err, out)
		}
		return out
	}
	sent, got := table(from), table(to)
	if sent != got || strings.Count(sent, "\n") != 10 || !strings.Contains(sent, "a b/я,m 1,relay") || !strings.Contains(sent, "anna,/shop 1,relay,null") {
		t.Errorf("sent\n%s\narrived\n%s", sent, got)
	}
}
