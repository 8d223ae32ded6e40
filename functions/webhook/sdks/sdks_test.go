// Package sdks tests endpoints that are written with the SDK of CloudEvents for
// JavaScript. (The one for Go is in the tests of package webhook.) It is a module of its
// own, with what npm installs.
package sdks

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"inturn/db"
	"inturn/functions"
	"inturn/functions/functionstest"
	"inturn/functions/webhook"
)

// endpoint starts endpoint.mjs and returns its address.
func endpoint(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("node", "endpoint.mjs")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the endpoint does not start (run npm ci first): %v", err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}

// The SDK takes events of accounts with any id, and what it makes is emitted, in binary
// mode and in the JSON format. In binary mode it does not percent-encode what is not
// ASCII, as CloudEvents wants: such an answer is refused with an error that says so.
func TestJavaScript(t *testing.T) {
	address := endpoint(t)
	targets, err := webhook.ParseTargets([]string{"binary=" + address + "/binary", "structured=" + address + "/structured"}, false)
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := webhook.New(targets, webhook.Options{
		MaxConcurrent: 8, Timeout: 30 * time.Second, Epoch: func() int64 { return 1 }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf := functions.New("leaf", func(context.Context, functions.Event, struct{}) (functions.Effect, error) { return nil, nil })
	e := functionstest.New(t, append(hooks.Functions(), leaf)...)
	t.Cleanup(hooks.Close)
	for _, mode := range []string{"binary", "structured"} {
		for _, client := range []string{"anna", "42:7", "a%b", "Anna Müller", "/shop", "https://shop.example/a?b#c", "#", "я"} {
			if mode == "binary" && client == "Anna Müller" {
				e.Send(functions.Event{ClientID: client, MessageID: mode, Type: mode, Payload: []byte(`{}`)})
				if said := e.Failed(client).LastError; !strings.Contains(said, `"partitionkey" must be valid UTF-8; in a header, percent-encode`) {
					t.Errorf("%s: %s", client, said)
				}
				e.Execute(db.Command{Verb: db.Skip, ClientID: client, Seq: e.Find(client, mode).Seq})
				continue
			}
			if mode == "binary" && client == "я" {
				continue // Node refuses to send it
			}
			ev := functions.Event{ClientID: client, MessageID: mode, Type: mode, Payload: []byte(`{"name":"Müller"}`)}
			got := e.Do(ev)
			emitted := e.Query(`SELECT seq, payload FROM outbox WHERE client_id = ? AND message_id = ? AND type = 'leaf'`, client, "paid-"+mode)
			if got.State != db.Done || len(emitted) != 1 || emitted[0][1] != string(ev.Payload) {
				t.Errorf("%s %s: %s %+v, emitted %v", mode, client, got.State, got.Result, emitted)
				continue
			}
			if want := fmt.Sprintf(`[{"client_id":%q,"message_id":"paid-%s","seq":%d,"state":"pending","duplicate":false}]`, client, mode, emitted[0][0]); string(got.Result.Output) != want {
				t.Errorf("%s %s: the result is %s, want %s", mode, client, got.Result.Output, want)
			}
		}
	}
}
