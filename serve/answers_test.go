package serve

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"inturn/functions/api"
	"inturn/internal/program"
)

// row is one row of the table of answers: what curl sends and what it must get.
type row struct {
	name    string
	path    string   // "" for /v1/events
	args    []string // of curl
	status  int
	problem string            // the end of its type, "" for an answer that is none
	at      string            // pointer or parameter of its first error, "" for none
	body    string            // members that the answer's JSON must have, "" for any
	header  map[string]string // headers it must have; "*" for any value
}

func (r row) run(t *testing.T, s *program.Server) {
	t.Run(r.name, func(t *testing.T) {
		path := r.path
		if path == "" {
			path = "/v1/events"
		}
		a := s.Curl(t, path, r.args...)
		if a.Status != r.status {
			t.Fatalf("status %d, want %d: %s", a.Status, r.status, a.Body)
		}
		if a.Header.Get("X-Request-ID") == "" {
			t.Error("no X-Request-ID")
		}
		for name, want := range r.header {
			if got := a.Header.Get(name); got != want && (want != "*" || got == "") {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if r.body != "" {
			wantMembers(t, a.Body, r.body)
		}
		if r.problem == "" {
			return
		}
		p := a.Problem(t)
		if p.Type != "urn:inturn:problem:"+r.problem {
			t.Errorf("problem %s, want %s: %s", p.Type, r.problem, p.Detail)
		}
		at := ""
		if len(p.Errors) > 0 {
			at = p.Errors[0].Pointer + p.Errors[0].Parameter
		}
		if at != r.at {
			t.Errorf("the problem is at %q, want %q: %s", at, r.at, a.Body)
		}
		wantRetryAfter := a.Status == 429 || a.Status == 503
		if got := a.Header.Get("Retry-After"); (got != "") != wantRetryAfter || wantRetryAfter && !regexp.MustCompile(`^[1-9]\d*$`).MatchString(got) {
			t.Errorf("status %d with Retry-After %q", a.Status, got)
		}
	})
}

// wantMembers compares the members that want has.
func wantMembers(t *testing.T, got, want string) {
	t.Helper()
	var has, needs map[string]json.RawMessage
	if err := json.Unmarshal([]byte(want), &needs); err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	if err := json.Unmarshal([]byte(got), &has); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	for name, value := range needs {
		if string(has[name]) != string(value) {
			t.Errorf("%q is %s, want %s, in %s", name, has[name], value, got)
		}
	}
}

// chat is a body of the message function.
func chat(client, id, text string) string {
	return fmt.Sprintf(`{"client_id":%q,"message_id":%q,"payload":{"phone":"+70000000001","text":%q}}`, client, id, text)
}

// busy is an event that stays inside its function for a minute.
func busy(client, id string) string {
	return fmt.Sprintf(`{"client_id":%q,"message_id":%q,"type":"work","payload":{"ms":60000}}`, client, id)
}

// data makes curl's arguments of a body.
func data(body string, args ...string) []string { return append(args, "--data-binary", body) }

const (
	asJSON = "Content-Type: application/json"
	wait   = "Prefer: wait=60"
)

// What was accepted, and what is answered about it later. The rows build on each other.
func TestAnswersAboutAnEvent(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil, "--drain", "0s")
	result := `{"client":1,"dialog":1,"message":1}`
	for _, r := range []row{
		{name: "new", args: data(chat("a", "1", "hello"), "-H", wait), status: 200,
			body: `{"client_id":"a","message_id":"1","seq":1,"state":"done","duplicate":false,"result":` + result + `}`, header: map[string]string{"Preference-Applied": "wait=60", "Content-Type": "application/json", "Location": ""}},
		{name: "repeat of a finished one", args: data(chat("a", "1", "hello")), status: 200,
			body: `{"client_id":"a","message_id":"1","seq":1,"state":"done","duplicate":true,"result":` + result + `}`},
		{name: "repeat with other white space", args: data(`{ "payload" : { "phone":"+70000000001",  "text":"hello" }, "type":"message", "message_id":"1","client_id":"a" }`), status: 200,
			body: `{"seq":1,"duplicate":true}`},
		{name: "same id, other payload", args: data(chat("a", "1", "other")), status: 422, problem: "id-reused", body: `{"seq":1}`},
		{name: "same id, other type", args: data(`{"client_id":"a","message_id":"1","type":"dialog.close","payload":{"phone":"+70000000001"}}`), status: 422, problem: "id-reused", body: `{"seq":1}`},
		{name: "same message_id of another account", args: data(chat("b", "1", "hello"), "-H", wait), status: 200, body: `{"duplicate":false,"state":"done"}`},
		{name: "new, not finished", args: data(busy("w", "1")), status: 202,
			body: `{"client_id":"w","message_id":"1","state":"pending","duplicate":false}`, header: map[string]string{"Location": "/v1/events/w/1", "Content-Type": "application/json"}},
		{name: "repeat of one that is not finished", args: data(busy("w", "1")), status: 202,
			body: `{"client_id":"w","message_id":"1","state":"pending","duplicate":true}`, header: map[string]string{"Location": "/v1/events/w/1"}},
		{name: "a wait that ends first", args: data(busy("w", "1"), "-H", "Prefer: wait=1"), status: 202, body: `{"state":"pending","duplicate":true}`, header: map[string]string{"Preference-Applied": "wait=1"}},
		{name: "ids in Location are escaped", args: data(busy("w/ü", "1?")), status: 202, header: map[string]string{"Location": "/v1/events/w%2F%C3%BC/1%3F"}},

		{name: "get", path: "/v1/events/a/1", status: 200, body: `{"client_id":"a","message_id":"1","seq":1,"state":"done","type":"message","payload":{"phone":"+70000000001","text":"hello"},"attempts":1,"result":` + result + `}`},
		{name: "get one that is not finished", path: "/v1/events/w/1", status: 200, body: `{"client_id":"w","state":"pending","payload":{"ms":60000}}`},
		{name: "get by Location", path: "/v1/events/w%2F%C3%BC/1%3F", status: 200, body: `{"client_id":"w/ü","message_id":"1?"}`},
		{name: "get what is not there", path: "/v1/events/a/2", status: 404, problem: "not-found"},
		{name: "list", path: "/v1/events?client_id=b&state=done", status: 200},
		{name: "list by a parameter that is none", path: "/v1/events?client=a", status: 400, problem: "invalid-request", at: "client"},
		{name: "list too much", path: "/v1/events?limit=1001", status: 400, problem: "invalid-request", at: "limit"},
		{name: "list a state that is none", path: "/v1/events?state=lost", status: 400, problem: "invalid-request", at: "state"},

		{name: "no such path", path: "/v1/nothing", status: 404, problem: "not-found"},
		{name: "a path that could be cleaned", path: "/v1//events", status: 404, problem: "not-found"},
		{name: "no such method", args: []string{"-X", "DELETE"}, status: 405, problem: "method-not-allowed", header: map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},
		{name: "no such method of an event", path: "/v1/events/a/1", args: []string{"-X", "PUT"}, status: 405, problem: "method-not-allowed", header: map[string]string{"Allow": "DELETE, GET, HEAD"}},

		{name: "request id of the sender", path: "/v1/events/a/1", args: []string{"-H", "X-Request-ID: mine-7"}, status: 200, header: map[string]string{"X-Request-Id": "mine-7"}},
		{name: "request id in a problem", args: data(`{`, "-H", "X-Request-ID: mine-8"), status: 400, problem: "invalid-event", header: map[string]string{"X-Request-Id": "mine-8"}, body: `{"request_id":"mine-8"}`, at: "#"},
		{name: "request id is stored", args: data(chat("a", "2", "x"), "-H", "X-Request-ID: mine-9", "-H", wait), status: 200},
		{name: "request id of the event", path: "/v1/events/a/2", status: 200, body: `{"request_id":"mine-9"}`},
		{name: "over HTTP/2", args: data(chat("a", "3", "x"), "--http2", "-H", wait), status: 200, body: `{"state":"done"}`},
		{name: "over HTTP/1.1", args: data(chat("a", "3", "x"), "--http1.1", "-H", wait), status: 200, body: `{"state":"done"}`},
	} {
		r.run(t, s)
	}
	if a := s.Curl(t, "/v1/events/a/1", "-H", "X-Request-ID: no good id"); a.Header.Get("X-Request-ID") == "no good id" {
		t.Error("a request id with spaces was taken")
	}
	if !strings.Contains(s.Logged(), `"request_id":"mine-8"`) {
		t.Error("the request id is not in the log")
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	wantCheck(t, s.Dir)
}

// wantCheck asks `inturn check` about the default database in dir.
func wantCheck(t *testing.T, dir string) {
	t.Helper()
	if r := program.Run(t, dir, nil, "check"); r.Status != 0 {
		t.Errorf("check: %+v", r)
	}
}

// Everything that is refused before it is taken, and that nothing of it is stored.
func TestAnswersToWhatIsNotValid(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil, "--max-event", "64KiB")
	long := strings.Repeat("x", 257)
	bad := func(name, body, at string) row {
		return row{name: name, args: data(body), status: 400, problem: "invalid-event", at: at}
	}
	file := func(name string, body string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + path
	}
	payload := `"payload":{"phone":"+70000000001","text":"x"}`
	for _, r := range []row{
		bad("empty", ``, "#"),
		bad("no JSON", `hello`, "#"),
		bad("cut off", `{"client_id":"a","message_id":"1"`, "#"),
		bad("cut off in the payload", `{"client_id":"a","message_id":"1","payload":{"phone":`, "#/payload/phone"),
		bad("comment", `{"client_id":"a"/* */}`, "#"),
		bad("array that ends early", `[`+chat("a", "1", "x"), "#"),
		bad("string", `"hello"`, "#"),
		bad("null", `null`, "#"),
		bad("something after it", chat("a", "1", "x")+`{}`, "#"),
		bad("two lines", chat("a", "1", "x")+"\n"+chat("a", "2", "x"), "#"),
		bad("no client_id", `{"message_id":"1",`+payload+`}`, "#/client_id"),
		bad("no message_id", `{"client_id":"a",`+payload+`}`, "#/message_id"),
		bad("no payload", `{"client_id":"a","message_id":"1"}`, "#/payload"),
		bad("empty object", `{}`, "#/client_id"),
		bad("client_id is a number", `{"client_id":1,"message_id":"1",`+payload+`}`, "#/client_id"),
		bad("message_id is null", `{"client_id":"a","message_id":null,`+payload+`}`, "#/message_id"),
		bad("type is an array", `{"client_id":"a","message_id":"1","type":[],`+payload+`}`, "#/type"),
		bad("empty type", `{"client_id":"a","message_id":"1","type":"",`+payload+`}`, "#/type"),
		bad("unknown type", `{"client_id":"a","message_id":"1","type":"nothing",`+payload+`}`, "#/type"),
		bad("unknown field", `{"client_id":"a","message_id":"1","priority":1,`+payload+`}`, "#/priority"),
		bad("name in capitals", `{"Client_ID":"a","message_id":"1",`+payload+`}`, "#/Client_ID"),
		bad("empty client_id", chat("", "1", "x"), "#/client_id"),
		bad("long client_id", chat(long, "1", "x"), "#/client_id"),
		bad("client_id is a dot", chat(".", "1", "x"), "#/client_id"),
		bad("client_id is two dots", chat("..", "1", "x"), "#/client_id"),
		bad("control character in client_id", `{"client_id":"a\u0000b","message_id":"1",`+payload+`}`, "#/client_id"),
		bad("empty message_id", chat("a", "", "x"), "#/message_id"),
		bad("long message_id", chat("a", long, "x"), "#/message_id"),
		bad("message_id is two dots", chat("a", "..", "x"), "#/message_id"),
		bad("control character in message_id", `{"client_id":"a","message_id":"1\n",`+payload+`}`, "#/message_id"),
		bad("doubled key", `{"client_id":"a","client_id":"a","message_id":"1",`+payload+`}`, "#/client_id"),
		bad("doubled key with an escape", `{"client_id":"a","client\u005fid":"b","message_id":"1",`+payload+`}`, "#/client_id"),
		bad("doubled key in the payload", `{"client_id":"a","message_id":"1","payload":{"phone":"+70000000001","text":"x","text":"y"}}`, "#/payload/text"),
		bad("invalid UTF-8", "{\"client_id\":\"a\",\"message_id\":\"1\",\"payload\":{\"phone\":\"+70000000001\",\"text\":\"\xff\"}}", "#/payload/text"),
		bad("invalid UTF-8 in an id", "{\"client_id\":\"\xc3\x28\",\"message_id\":\"1\","+payload+"}", "#/client_id"),
		bad("lone surrogate", `{"client_id":"a","message_id":"1","payload":{"phone":"+70000000001","text":"\ud800"}}`, "#/payload/text"),
		bad("payload of its function: missing", `{"client_id":"a","message_id":"1","payload":{"text":"x"}}`, "#/payload/phone"),
		bad("payload of its function: wrong", `{"client_id":"a","message_id":"1","payload":{"phone":"none","text":"x"}}`, "#/payload/phone"),
		bad("payload of its function: wrong type", `{"client_id":"a","message_id":"1","payload":{"phone":"+70000000001","text":7}}`, "#/payload/text"),
		bad("payload of its function: no object", `{"client_id":"a","message_id":"1","payload":7}`, "#/payload"),
		bad("payload of its function: null", `{"client_id":"a","message_id":"1","payload":null}`, "#/payload/phone"),
		bad("payload of its function: out of bounds", `{"client_id":"a","message_id":"1","type":"work","payload":{"ms":60001}}`, "#/payload/ms"),
		bad("payload that nests too deep", `{"client_id":"a","message_id":"1","type":"work","payload":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`, "#/payload"),

		{name: "too large", args: data(file("large", chat("a", "1", strings.Repeat("x", 64<<10)))), status: 413, problem: "too-large"},
		{name: "too large, of unknown length", args: data(file("large", chat("a", "1", strings.Repeat("x", 64<<10))), "-H", "Transfer-Encoding: chunked"), status: 413, problem: "too-large"},

		{name: "text", args: data(chat("a", "1", "x"), "-H", "Content-Type: text/plain"), status: 415, problem: "unsupported-media-type", header: map[string]string{"Accept": "application/json, application/x-ndjson, application/cloudevents+json, application/cloudevents-batch+json"}},
		{name: "another charset", args: data(chat("a", "1", "x"), "-H", asJSON+"; charset=latin1"), status: 415, problem: "unsupported-media-type"},
		{name: "compressed", args: data(chat("a", "1", "x"), "-H", asJSON, "-H", "Content-Encoding: gzip"), status: 415, problem: "unsupported-media-type", header: map[string]string{"Accept-Encoding": "identity"}},
	} {
		r.run(t, s)
	}
	if r := program.Run(t, s.Dir, nil, "query", "--csv", "SELECT count(*) FROM outbox"); strings.TrimSpace(r.Out) != "count(*)\n0" {
		t.Errorf("something of what was refused is stored: %+v", r)
	}
	for _, args := range [][]string{
		{"-H", asJSON}, {"-H", asJSON + "; charset=utf-8"}, {"-H", "Content-Type:"}, {"-H", "Content-Type: application/x-www-form-urlencoded"},
	} {
		if a := s.Post(t, chat("taken", args[1], "x"), args...); a.Status != 202 {
			t.Errorf("%s: %d %s", args, a.Status, a.Body)
		}
	}
}

func TestAnswersToTokens(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.json")
	text := fmt.Sprintf(`{"tokens":[
		{"name":"writer","hash":%q,"scopes":["ingest"]},
		{"name":"reader","hash":%q,"scopes":["read"]},
		{"name":"shop","hash":%q,"scopes":["ingest","read"],"client_ids":["shop"]}]}`,
		api.HashToken("writers-secret"), api.HashToken("readers-secret"), api.HashToken("shops-secret"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := program.Serve(t, t.TempDir(), []string{"INTURN_TOKEN=everything-secret"}, "--token-file", file)
	with := func(token, client, id string) []string {
		return data(chat(client, id, "x"), "-H", "Authorization: Bearer "+token)
	}
	read := func(token string) []string { return []string{"-H", "Authorization: Bearer " + token} }
	challenge := map[string]string{"WWW-Authenticate": "*"}
	for _, r := range []row{
		{name: "none", args: data(chat("a", "1", "x")), status: 401, problem: "unauthorized", header: map[string]string{"WWW-Authenticate": `Bearer realm="inturn"`}},
		{name: "none, and no event either", args: data(`{`), status: 401, problem: "unauthorized", header: challenge},
		{name: "none, to read", path: "/v1/events/a/1", status: 401, problem: "unauthorized", header: challenge},
		{name: "none, to list", path: "/v1/events", status: 401, problem: "unauthorized", header: challenge},
		{name: "wrong", args: with("guess", "a", "1"), status: 401, problem: "unauthorized", header: challenge},
		{name: "its hash is no token", args: with(api.HashToken("writers-secret"), "a", "1"), status: 401, problem: "unauthorized", header: challenge},
		{name: "another scheme", args: data(chat("a", "1", "x"), "-u", "writer:writers-secret"), status: 401, problem: "unauthorized", header: challenge},
		{name: "in the address", path: "/v1/events?access_token=everything-secret", args: data(chat("a", "1", "x")), status: 400, problem: "invalid-request", at: "access_token"},
		{name: "of INTURN_TOKEN", args: with("everything-secret", "a", "1"), status: 202},
		{name: "of INTURN_TOKEN, to read", path: "/v1/events/a/1", args: read("everything-secret"), status: 200},
		{name: "writes", args: with("writers-secret", "a", "2"), status: 202},
		{name: "may only write", path: "/v1/events/a/2", args: read("writers-secret"), status: 403, problem: "forbidden", header: challenge},
		{name: "reads", path: "/v1/events/a/2", args: read("readers-secret"), status: 200},
		{name: "may only read", args: with("readers-secret", "a", "3"), status: 403, problem: "forbidden", header: challenge},
		{name: "its client_id", args: with("shops-secret", "shop", "1"), status: 202},
		{name: "a foreign client_id", args: with("shops-secret", "a", "4"), status: 403, problem: "forbidden"},
		{name: "a foreign client_id, to read", path: "/v1/events/a/2", args: read("shops-secret"), status: 403, problem: "forbidden"},
		{name: "all client_ids, to list", path: "/v1/events", args: read("shops-secret"), status: 403, problem: "forbidden"},
		{name: "its client_id, to list", path: "/v1/events?client_id=shop", args: read("shops-secret"), status: 200},
	} {
		r.run(t, s)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := program.Curl(t, "http://"+s.Admin+path); a.Status != 200 {
			t.Errorf("%s without a token: %d", path, a.Status)
		}
	}
	s.Stop(t)
	for _, secret := range []string{"writers-secret", "readers-secret", "shops-secret", "everything-secret", "guess"} {
		if strings.Contains(s.Logged(), secret) {
			t.Errorf("the log has the token %s", secret)
		}
	}
}

// Full is said: of one account, and in all.
func TestAnswersWhenItIsFull(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil, "--max-account-pending", "1", "--max-pending", "2", "--drain", "0s", "--tls", "off")
	if s.CA != "" {
		t.Errorf("--tls off has the CA %s", s.CA)
	}
	for _, r := range []row{
		{name: "the first of an account", args: data(busy("a", "1")), status: 202},
		{name: "the second", args: data(busy("a", "2")), status: 429, problem: "account-full", header: map[string]string{"Retry-After": "*"}},
		{name: "a repeat is taken", args: data(busy("a", "1")), status: 202, body: `{"duplicate":true}`},
		{name: "another account", args: data(busy("b", "1")), status: 202},
		{name: "the third in all", args: data(busy("c", "1")), status: 503, problem: "backlog-full", header: map[string]string{"Retry-After": "*"}},
		{name: "a repeat is taken all the same", args: data(busy("b", "1")), status: 202, body: `{"duplicate":true}`},
		{name: "reading goes on", path: "/v1/events/a/1", status: 200, body: `{"state":"pending"}`},
		{name: "what was refused is not there", path: "/v1/events/c/1", status: 404, problem: "not-found"},
	} {
		r.run(t, s)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	wantCheck(t, s.Dir)
}

func TestAnswersAboutADeadEvent(t *testing.T) {
	t.Parallel()
	program.NeedTool(t, "curl")
	dir := t.TempDir()
	file := program.Failing(t)
	s := program.ServeWith(t, file, dir, []string{"INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0"})
	dead := `{"client_id":"a","message_id":"1","seq":1,"state":"dead","result":null,"error":"this can never succeed"`
	event := `{"client_id":"a","message_id":"1","type":"refund","payload":{}}` // its function is in program/testdata/failing
	for _, r := range []row{
		{name: "new", args: data(event, "-H", wait), status: 200, body: dead + `,"duplicate":false}`},
		{name: "repeat", args: data(event), status: 200, body: dead + `,"duplicate":true}`},
		{name: "get", path: "/v1/events/a/1", status: 200, body: dead + `,"attempts":1}`},
		{name: "the account goes on", args: data(chat("a", "2", "x"), "-H", wait), status: 200, body: `{"state":"done"}`},
	} {
		r.run(t, s)
	}
}

// testedElsewhere are answers that other files show, or that a test of the whole
// program can't provoke honestly.
var testedElsewhere = map[string]string{
	"421 unknown-host":    "TestGuard of functions/api",
	"424 not-attempted":   "forms_test.go",
	"503 outcome-unknown": "the disk must fail at the commit: package proofs, and the tests of db and functions/api",
	"503 storage-full":    "the disk must be full: package proofs, and the tests of db and functions/api",
}

// Each row of the table in docs/api.md has been asked for above. Rows are found by their
// status and the problem's name in this file's own text.
func TestTheTableOfAnswersIsCovered(t *testing.T) {
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("answers_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var covered []string
	for _, m := range regexp.MustCompile(`status: (\d+)(?:, problem: "([a-z-]+)")?`).FindAllStringSubmatch(string(text), -1) {
		covered = append(covered, m[1], m[1]+" "+m[2])
	}
	_, table, _ := strings.Cut(string(page), "| answer | means |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if len(rows) < 8 {
		t.Fatalf("docs/api.md's table of answers has %d rows", len(rows))
	}
	for _, row := range rows {
		cell := strings.Trim(strings.Split(row, "|")[1], " ")
		for want := range strings.SplitSeq(strings.ReplaceAll(cell, "`", ""), ", ") {
			if !slices.Contains(covered, want) && testedElsewhere[want] == "" {
				t.Errorf("no test asks for the answer of docs/api.md %s", want)
			}
		}
	}
}
