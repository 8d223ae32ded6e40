package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Every form of POST /v1/events, through the real program with curl.
func TestAnswersToEveryForm(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil, "--max-event", "64KiB", "--max-body", "128KiB", "--max-batch", "5", "--drain", "0s")
	lines := func(events ...string) string { return strings.Join(events, "\n") + "\n" }
	array := func(events ...string) string { return "[" + strings.Join(events, ",") + "]" }
	as := func(media string) string { return "Content-Type: " + media }
	cloud := func(id, more string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/shop","type":"work","data":{"ms":60000}` + more + `}`
	}
	// A file, because curl takes one as it is where the text would be long.
	file := func(body string) string {
		path := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + path
	}
	refused := `{"client_id":"a","message_id":"2","payload":{"phone":"none"}}`
	for _, r := range []row{
		{name: "batch", args: data(array(busy("a", "1"), refused, busy("a", "3"), busy("b", "1"), busy("b", "1"))), status: 200,
			body: `{"accepted":2,"duplicates":1,"refused":2}`, header: map[string]string{"Content-Type": "application/json"}},
		{name: "batch, going on", path: "/v1/events?on_error=continue", args: data(array(refused, busy("a", "3"))), status: 200, body: `{"accepted":1,"duplicates":0,"refused":1}`},
		{name: "batch of nothing", args: data(`[]`), status: 200, body: `{"results":[],"accepted":0,"duplicates":0,"refused":0}`},
		{name: "batch that ends early", args: data(`[` + busy("z", "1") + `,`), status: 400, problem: "invalid-event", at: "#"},
		{name: "batch of too many", args: data(array(busy("z", "1"), busy("z", "2"), busy("z", "3"), busy("z", "4"), busy("z", "5"), busy("z", "6"))), status: 413, problem: "too-large"},
		{name: "batch that is too long", args: data(file(array(chat("z", "1", strings.Repeat("x", 128<<10))))), status: 413, problem: "too-large"},
		{name: "batch that is longer than an event", args: data(file(array(chat("l", "1", strings.Repeat("x", 60<<10)), chat("l", "2", strings.Repeat("x", 60<<10))))), status: 200, body: `{"accepted":2}`},
		{name: "on_error that is none", path: "/v1/events?on_error=no", args: data(`[]`), status: 400, problem: "invalid-request", at: "on_error"},
		{name: "none of it is stored", path: "/v1/events/z/1", status: 404, problem: "not-found"},

		{name: "key", args: data(`{"client_id":"k","type":"work","payload":{"ms":60000}}`, "-H", `Idempotency-Key: "1"`), status: 202, body: `{"client_id":"k","message_id":"1","duplicate":false}`},
		{name: "key and id", args: data(busy("k", "1"), "-H", `Idempotency-Key: "1"`), status: 202, body: `{"client_id":"k","message_id":"1","duplicate":true}`},
		{name: "key and another id", args: data(busy("k", "2"), "-H", `Idempotency-Key: "1"`), status: 400, problem: "invalid-event", at: "#/message_id"},
		{name: "key without quotes", args: data(busy("k", "1"), "-H", `Idempotency-Key: 1`), status: 400, problem: "invalid-request"},
		{name: "key of a batch", args: data(array(busy("k", "1")), "-H", `Idempotency-Key: "1"`), status: 400, problem: "invalid-request"},

		{name: "CloudEvent", args: data(cloud("1", ""), "-H", as("application/cloudevents+json")), status: 202, body: `{"client_id":"/shop","message_id":"1"}`},
		{name: "CloudEvent with a partitionkey", args: data(cloud("1", `,"partitionkey":"anna","color":"red"`), "-H", as("application/cloudevents+json; charset=utf-8")), status: 202, body: `{"client_id":"anna","message_id":"/shop 1"}`},
		{name: "its attributes", path: "/v1/events/anna/%2Fshop%201", status: 200, body: `{"type":"work","payload":{"ms":60000},"attrs":{"specversion":"1.0","id":"1","source":"/shop","partitionkey":"anna","color":"red"}}`},
		{name: "CloudEvent in binary mode", args: data(`{"ms":60000}`, "-H", as("application/json"), "-H", "ce-specversion: 1.0", "-H", "ce-id: 1", "-H", "ce-source: /shop", "-H", "ce-type: work"), status: 202, body: `{"client_id":"/shop","message_id":"1","duplicate":true}`},
		{name: "CloudEvents", args: data(array(cloud("1", ""), cloud("2", "")), "-H", as("application/cloudevents-batch+json")), status: 200, body: `{"accepted":1,"duplicates":1,"refused":0}`},
		{name: "CloudEvent without an id", args: data(`{"specversion":"1.0","source":"/shop","type":"work"}`, "-H", as("application/cloudevents+json")), status: 400, problem: "invalid-event", at: "#/id"},
		{name: "CloudEvent of text", args: data(`x`, "-H", as("text/plain"), "-H", "ce-specversion: 1.0", "-H", "ce-id: 1", "-H", "ce-source: /shop", "-H", "ce-type: work"), status: 415, problem: "unsupported-media-type"},
		{name: "CloudEvent in XML", args: data(`x`, "-H", as("application/cloudevents+xml")), status: 415, problem: "unsupported-media-type"},

		{name: "a stream that is none", path: "/v1/stream", status: 426, problem: "upgrade-required"},
		{name: "a stream from a page of somebody else's", path: "/v1/stream", args: []string{"--http1.1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
			"-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "-H", "Origin: https://evil.example"}, status: 403, problem: "cross-origin"},
	} {
		r.run(t, s)
	}

	// Lines: too many for one group, answered in order, over both versions of HTTP.
	for _, version := range []string{"--http1.1", "--http2"} {
		var events []string
		for i := range 3000 {
			events = append(events, busy("n"+version, strings.Repeat("i", i%200+1)+"-"+strings.Repeat("j", i/200)))
		}
		a := s.Post(t, file(lines(append(events, "", refused, busy("a", "9"))...)), version, "-H", as("application/x-ndjson"))
		answers := strings.Split(strings.TrimSuffix(a.Body, "\n"), "\n")
		if a.Status != 200 || a.Header.Get("Content-Type") != "application/x-ndjson" || len(answers) != 3002 {
			t.Fatalf("%s: %d, %d lines: %.300s", version, a.Status, len(answers), a.Body)
		}
		for i, want := range map[int]string{0: `{"n":1,"status":202,`, 2999: `{"n":3000,"status":202,`, 3000: `{"n":3001,"status":400,`, 3001: `{"n":3002,"status":424,`} {
			if !strings.HasPrefix(answers[i], want) {
				t.Errorf("%s: line %d is %s, want %s…", version, i+1, answers[i], want)
			}
		}
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	wantCheck(t, s.Dir)
}

// Signed webhooks, with one secret following another, through the real program.
func TestAnswersToWebhooks(t *testing.T) {
	t.Parallel()
	const older, newer, strange = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk", "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3", "whsec_c3RyYW5nZXN0cmFuZ2VzdHJhbmdlc3Ry"
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens.json")
	if err := os.WriteFile(tokens, []byte(`{"tokens":[],"secrets":{"shop":["`+newer+`","`+older+`"]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := program.Serve(t, dir, nil, "--token-file", tokens, "--drain", "0s")
	body := `{"ms": 60000, "sku": "tea"}`
	hook := func(secret, id string, at time.Time, sent string) []string {
		wh, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := wh.Sign(id, at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return data(sent, "-H", "webhook-id: "+id, "-H", fmt.Sprint("webhook-timestamp: ", at.Unix()), "-H", "webhook-signature: "+signature)
	}
	now, path := time.Now(), "/v1/hooks/shop/work"
	challenge := map[string]string{"WWW-Authenticate": "*"}
	for _, r := range []row{
		{name: "signed", path: path, args: hook(newer, "msg_1", now, body), status: 202, body: `{"client_id":"shop","message_id":"msg_1","duplicate":false}`},
		{name: "sent again", path: path, args: hook(newer, "msg_1", now.Add(time.Second), body), status: 202, body: `{"duplicate":true}`},
		{name: "signed with the older secret", path: path, args: hook(older, "msg_2", now, body), status: 202},
		{name: "a wrong secret", path: path, args: hook(strange, "msg_3", now, body), status: 401, problem: "unauthorized", header: challenge},
		{name: "an old time stamp", path: path, args: hook(newer, "msg_3", now.Add(-6*time.Minute), body), status: 401, problem: "unauthorized", header: challenge},
		{name: "a changed body", path: path, args: hook(newer, "msg_3", now, strings.Replace(body, "tea", "gin", 1)), status: 401, problem: "unauthorized", header: challenge},
		{name: "an account without secrets", path: "/v1/hooks/bank/work", args: hook(newer, "msg_3", now, body), status: 401, problem: "unauthorized", header: challenge},
		{name: "not signed", path: path, args: data(body), status: 401, problem: "unauthorized", header: challenge},
		{name: "a type without a function", path: "/v1/hooks/shop/none", args: hook(newer, "msg_3", now, body), status: 400, problem: "invalid-event", at: "#/type"},
	} {
		r.run(t, s)
	}
	s.Stop(t)
	for _, secret := range []string{older, newer, strange, "tea"} {
		if strings.Contains(s.Logged(), strings.TrimPrefix(secret, "whsec_")) {
			t.Errorf("the log has %s", secret)
		}
	}
	if r := program.Run(t, s.Dir, nil, "query", "--csv", "SELECT message_id, payload FROM outbox"); !strings.Contains(r.Out, "msg_1") || !strings.Contains(r.Out, "msg_2") || strings.Contains(r.Out, "msg_3") {
		t.Errorf("in the file: %+v", r)
	}
}
