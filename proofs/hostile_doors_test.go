package proofs

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"inturn/db/sqlite/file"
)

// door is a way in. body makes its body for an event; path and headers are asked too.
type door struct {
	name, method string
	path         string // %s is the client_id
	media        string
	body         func(client, id string) string
	header       func(id string) []string // pairs
	needs        string                   // scope, "" for none
	each         bool                     // events are refused one by one
	websocket    bool
	signed       bool
	public       bool
}

const doorPayload = `{"ms":0,"note":"` + canary + `"}`

func plainEvent(client, id string) string {
	return fmt.Sprintf(`{"client_id":%q,"message_id":%q,"type":"work","payload":%s}`, client, id, doorPayload)
}

func cloudEvent(client, id string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":"work","data":%s}`, id, client, doorPayload)
}

func listOf(one func(client, id string) string) func(client, id string) string {
	return func(client, id string) string { return "[" + one(client, id) + "]" }
}

var doors = []door{
	{name: "one event", method: "POST", path: "/v1/events", media: "application/json", body: plainEvent, needs: "ingest"},
	{name: "with an Idempotency-Key", method: "POST", path: "/v1/events", media: "application/json", needs: "ingest",
		body: func(client, _ string) string {
			return fmt.Sprintf(`{"client_id":%q,"type":"work","payload":%s}`, client, doorPayload)
		},
		header: func(id string) []string { return []string{"Idempotency-Key", `"` + id + `"`} }},
	{name: "as curl's form", method: "POST", path: "/v1/events", media: "application/x-www-form-urlencoded", body: plainEvent, needs: "ingest"},
	{name: "batch", method: "POST", path: "/v1/events", media: "application/json", body: listOf(plainEvent), needs: "ingest", each: true},
	{name: "lines", method: "POST", path: "/v1/events", media: "application/x-ndjson", body: plainEvent, needs: "ingest", each: true},
	{name: "CloudEvent", method: "POST", path: "/v1/events", media: "application/cloudevents+json", body: cloudEvent, needs: "ingest"},
	{name: "CloudEvents", method: "POST", path: "/v1/events", media: "application/cloudevents-batch+json", body: listOf(cloudEvent), needs: "ingest", each: true},
	{name: "binary CloudEvent", method: "POST", path: "/v1/events", media: "application/json", needs: "ingest",
		body:   func(string, string) string { return doorPayload },
		header: func(id string) []string { return []string{"Ce-Specversion", "1.0", "Ce-Type", "work", "Ce-Id", id} }},
	{name: "stream", method: "GET", path: "/v1/stream", body: plainEvent, needs: "ingest", each: true, websocket: true},
	{name: "webhook", method: "POST", path: "/v1/hooks/%s/work", media: "application/json", signed: true,
		body: func(string, string) string { return doorPayload }},
	{name: "list of events", method: "GET", path: "/v1/events?client_id=%s", needs: "read"},
	{name: "an event", method: "GET", path: "/v1/events/%s/there", needs: "read"},
	{name: "an account", method: "GET", path: "/v1/accounts/%s", needs: "read"},
	{name: "the API's description", method: "GET", path: "/v1/openapi.yaml", public: true},
}

// Tokens of the test. Each is a canary too.
const (
	tokenAll    = "TOKEN-for-everything"
	tokenShop   = "TOKEN-of-the-shop"
	tokenWriter = "TOKEN-that-only-writes"
	tokenReader = "TOKEN-that-only-reads"
	tokenWrong  = "TOKEN-that-is-none"
)

var doorSecrets = map[string]string{
	"shop": "whsec_" + base64.StdEncoding.EncodeToString([]byte("the secret of the shop, 32 bytes")),
	"bank": "whsec_" + base64.StdEncoding.EncodeToString([]byte("the secret of the bank, 32 bytes")),
}

func writeDoorTokens(t *testing.T, path string) {
	t.Helper()
	entry := func(name, token, scopes, more string) string {
		sum := sha256.Sum256([]byte(token))
		return fmt.Sprintf(`{"name":%q,"hash":%q,"scopes":[%s]%s}`, name, hex.EncodeToString(sum[:]), scopes, more)
	}
	text := fmt.Sprintf(`{"tokens":[%s,%s,%s,%s],"secrets":{"shop":[%q],"bank":[%q]}}`,
		entry("all", tokenAll, `"ingest","read"`, ""), entry("shop", tokenShop, `"ingest","read"`, `,"client_ids":["shop"]`),
		entry("writer", tokenWriter, `"ingest"`, ""), entry("reader", tokenReader, `"read"`, ""),
		doorSecrets["shop"], doorSecrets["bank"])
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// visit is one request to a door.
type visit struct {
	client, id, token string
	secret            string // the key that the webhook is signed with, "" for none
	host, origin      string
}

// knock makes the visit and returns the status, that of the one event where the door
// answers for each, and what was said.
func (d door) knock(t *testing.T, c *client, url string, v visit) (int, string, http.Header) {
	t.Helper()
	path, body := d.path, ""
	if strings.Contains(path, "%s") {
		path = fmt.Sprintf(path, v.client)
	}
	if d.body != nil {
		body = d.body(v.client, v.id)
	}
	sent := body
	if d.websocket {
		sent = ""
	}
	r, err := http.NewRequestWithContext(t.Context(), d.method, url+path, strings.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	set := func(name, value string) {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	set("Content-Type", d.media)
	if d.header != nil {
		for h := d.header(v.id); len(h) > 1; h = h[2:] {
			set(h[0], h[1])
		}
		if r.Header.Get("Ce-Id") != "" {
			set("Ce-Source", v.client)
		}
	}
	if v.token != "" {
		set("Authorization", "Bearer "+v.token)
	}
	if d.signed && v.secret != "" {
		wh, err := standardwebhooks.NewWebhook(doorSecrets[v.secret])
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		signature, err := wh.Sign(v.id, now, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		set("Webhook-Id", v.id)
		set("Webhook-Timestamp", fmt.Sprint(now.Unix()))
		set("Webhook-Signature", signature)
	}
	if d.websocket {
		for _, h := range [][2]string{{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-Websocket-Version", "13"}, {"Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}} {
			set(h[0], h[1])
		}
	}
	if v.origin != "" {
		set("Origin", v.origin)
		set("Sec-Fetch-Site", "cross-site")
	}
	r.Host = v.host
	resp, err := c.http.Do(r)
	if err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return statusOf(ask(t, resp.Body.(io.ReadWriter), body)), "", resp.Header
	}
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	status := resp.StatusCode
	if d.each && status == http.StatusOK {
		status = statusOf(string(said))
	}
	return status, string(said), resp.Header
}

// ask sends one frame and returns the answer's text, which is short.
func ask(t *testing.T, stream io.ReadWriter, body string) string {
	t.Helper()
	if _, err := stream.Write(frame(fin|opText, uint64(len(body)), body)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := io.ReadAtLeast(stream, b, 60)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// statusOf is the status of the only event in an answer for many.
func statusOf(text string) (status int) {
	_, after, _ := strings.Cut(text, `"status":`)
	fmt.Sscan(after[:min(3, len(after))], &status)
	return status
}

// TestEveryDoorIsGuarded: every way in authenticates and authorizes its clients, and
// refuses strangers in its own way. What was refused is not stored; secrets are not logged.
func TestEveryDoorIsGuarded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens.json")
	writeDoorTokens(t, tokens)
	p := start(t, dir, "--token-file", tokens, "--domain", "events.example", "--log-level", "debug")
	url := p.ready()
	c := dial(t, dir)
	c.http.Timeout = 0 // with one, a stream's connection can't be written to
	for _, client := range []string{"shop", "bank"} {
		if status, said, _ := doors[0].knock(t, c, url, visit{client: client, id: "there", token: tokenAll}); status != 202 {
			t.Fatalf("%d %s", status, said)
		}
	}
	const here, evil = "localhost", "https://evil.example"
	accepted := 2
	for i, d := range doors {
		good := visit{client: "shop", id: fmt.Sprintf("good-%d", i), token: tokenShop, secret: "shop", host: here}
		if d.signed {
			good.token = ""
		}
		bad := func(change func(*visit)) visit {
			v := good
			v.id = "refused"
			change(&v)
			return v
		}
		half := tokenReader // of the two scopes it has not the one that is needed
		if d.needs == "read" {
			half = tokenWriter
		}
		writes := d.needs == "ingest" || d.signed
		atHome, abroad := 200, 200
		if writes {
			atHome, abroad = 202, 403
		}
		guest := func(status int) int { // a client without a token, where one is needed
			if d.public {
				return 200
			}
			return status
		}
		foreign := 403
		if d.signed {
			foreign = 401
		}
		for _, row := range []struct {
			name    string
			visit   visit
			status  int
			problem string
		}{
			{"no token", bad(func(v *visit) { v.token, v.secret = "", "" }), guest(401), "unauthorized"},
			{"a wrong token", bad(func(v *visit) { v.token, v.secret = tokenWrong, "" }), guest(401), "unauthorized"},
			{"a token of half the scopes", bad(func(v *visit) {
				if v.secret = "bank"; !d.signed { // whose secret is a right one, for itself
					v.token = half
				}
			}), guest(foreign), ""},
			{"a foreign client_id", bad(func(v *visit) { v.client = "bank" }), guest(foreign), ""},
			{"a token in place of a signature", bad(func(v *visit) {
				if d.signed {
					v.token, v.secret = tokenAll, ""
				} else {
					v.token = ""
				}
			}), guest(401), "unauthorized"},
			{"a foreign name", bad(func(v *visit) { v.host = "evil.example" }), 421, "unknown-host"},
			{"a foreign name with a port", bad(func(v *visit) { v.host = "evil.example:8443" }), 421, "unknown-host"},
			{"a foreign name and no token", bad(func(v *visit) { v.host, v.token, v.secret = "localhost.evil.example", "", "" }), 421, "unknown-host"},
			{"another site's page", bad(func(v *visit) { v.origin = evil }), abroad, "cross-origin"},
			{"its own name", good, atHome, ""},
		} {
			status, said, header := d.knock(t, c, url, row.visit)
			if status != row.status {
				t.Errorf("%s, %s: %d, want %d: %s", d.name, row.name, status, row.status, said)
			}
			if row.problem != "" && status >= 400 && !strings.Contains(said, `"urn:inturn:problem:`+row.problem+`"`) {
				t.Errorf("%s, %s: %s, want %s", d.name, row.name, said, row.problem)
			}
			if status == 401 && header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s, %s: 401 without a challenge", d.name, row.name)
			}
			if header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s, %s: a page of another site may read the answer", d.name, row.name)
			}
		}
		if writes {
			accepted++
		}
		if other := bad(func(v *visit) { v.host = "events.example:8443" }); !writes {
			if status, said, _ := d.knock(t, c, url, other); status != 200 {
				t.Errorf("%s, by --domain: %d %s", d.name, status, said)
			}
		}
		d.leak(t, c, url, good)
	}
	for _, path := range []string{"/v1/events", "/v1/accounts"} { // everybody's
		d := door{name: path, method: "GET", path: path}
		for token, want := range map[string]int{"": 401, tokenWrong: 401, tokenWriter: 403, tokenShop: 403, tokenReader: 200} {
			if status, said, _ := d.knock(t, c, url, visit{token: token, host: here}); status != want {
				t.Errorf("%s with %q: %d, want %d: %s", path, token, status, want, said)
			}
		}
	}
	drained(t, dir)
	p.stops()
	if out, err := inturn(t, "check", "--db", dbFile(dir)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
	file, err := file.OpenReadOnly(t.Context(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var n, refused int
	if err := file.QueryRow("SELECT count(*), count(*) FILTER (WHERE message_id LIKE '%refused%') FROM outbox").Scan(&n, &refused); err != nil {
		t.Fatal(err)
	}
	if n != accepted || refused != 0 {
		t.Errorf("%d events are stored, of which %d were refused; want %d", n, refused, accepted)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	requests := 0
	for _, l := range p.lines {
		if l.Msg == "request" && l.Level == "DEBUG" || strings.Contains(l.text, `"status":403`) {
			requests++
		}
		for _, secret := range []string{canary, "TOKEN-", strings.TrimPrefix(doorSecrets["shop"], "whsec_"), strings.TrimPrefix(doorSecrets["bank"], "whsec_"), "v1,", "secret of the"} {
			if strings.Contains(l.text, secret) {
				t.Errorf("%q stands in the log: %s", secret, l.text)
			}
		}
	}
	if requests < len(doors) {
		t.Errorf("the log has %d lines of requests: it can't show what is kept out of it", requests)
	}
}

// leak sends what is refused because of what is in it, so that the reason could show it.
func (d door) leak(t *testing.T, c *client, url string, v visit) {
	t.Helper()
	if d.body == nil {
		return
	}
	v.id = "refused"
	whole := d.body
	for _, payload := range []string{
		`{"ms":"` + canary + `"}`,                 // of the wrong type
		`{"` + canary + `":1,"` + canary + `":2}`, // doubled
		`{"ms":0,"x":` + canary,                   // broken
		`{"ms":0,"x":"` + canary + "\xff\"}",      // not UTF-8
	} {
		d.body = func(client, id string) string { return strings.Replace(whole(client, id), doorPayload, payload, 1) }
		if d.websocket && strings.Contains(payload, "\xff") {
			continue // ends the stream without an answer
		}
		if status, said, _ := d.knock(t, c, url, v); status != 400 {
			t.Errorf("%s, %q: %d %s", d.name, payload, status, said)
		}
	}
}
