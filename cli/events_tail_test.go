package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A connection that ends is made again behind the last event that came; what a client or an
// error is made of can't drive the terminal.
func TestEventsTail(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last := r.Header.Get("Last-Event-ID")
		if r.URL.Path != "/v1/watch" || r.URL.Query().Get("client_id") != "a b" || r.URL.Query().Get("type") != "" {
			t.Errorf("asked for %s", r.URL)
		}
		switch n := requests.Add(1); {
		case n == 1 && last == "":
			fmt.Fprint(w, "retry: 1\n\nid: x-1\nevent: accepted\ndata: {\"client_id\":\"a b\",\"message_id\":\"1\",\"seq\":5,\"type\":\"t\",\"at\":\"2026-01-31T12:00:00Z\",\"run\":1}\n\n: idle\n\n")
		case n == 2 && last == "x-1":
			http.Error(w, "no", http.StatusServiceUnavailable)
		case n == 3 && last == "x-1":
			fmt.Fprint(w, "id: x-2\nevent: settled\ndata: {\"client_id\":\"a b\",\"message_id\":\"1\",\"seq\":5,\"type\":\"t\",\"at\":\"2026-01-31T12:00:00Z\",\"run\":2,\"attempts\":3,\"state\":\"dead\",\"error\":\"\\u001b[2J\"}\n\n")
			fmt.Fprint(w, "id: x-9\nevent: missed\ndata: {\"count\":7}\n\nevent: missed\ndata: {\"restarted\":true}\n\nevent: cut\ndata: {")
		case n == 4 && last == "x-9":
			cancel()
		default:
			t.Errorf("request %d behind %q", n, last)
		}
	}))
	defer server.Close()
	var out, errOut bytes.Buffer
	client, err := Client{URL: server.URL}.asker()
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	follow := &tail{asker: client, out: IO{&out, &errOut}, query: url.Values{"client_id": {"a b"}}}
	if err := follow.run(ctx, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	want := `2026-01-31T12:00:00Z accepted 5 'a b' 1 t
2026-01-31T12:00:00Z settled  5 'a b' 1 t dead run 2 attempts 3: \u001b[2J
missed: 7, because they were not read in time
missed: the server can't say what happened since the connection broke
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
	if n := strings.Count(errOut.String(), "asking again"); n != 3 {
		t.Errorf("said %q", errOut.String())
	}
}

func TestEventsTailRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"type":"urn:inturn:problem:forbidden","title":"No","detail":"not you"}`)
	}))
	defer server.Close()
	err := EventsTail{Client: Client{URL: server.URL}}.Run(t.Context(), IO{&bytes.Buffer{}, &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "events tail: 403") {
		t.Error(err)
	}
}

func TestEventsTailJSON(t *testing.T) {
	var out bytes.Buffer
	follow := &tail{out: IO{Out: &out}, json: true}
	for _, data := range []string{`{"seq": 5, "client_id":"é"}`, `{}`} {
		if err := follow.print("accepted", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if want := "{\"event\":\"accepted\",\"seq\":5,\"client_id\":\"é\"}\n{\"event\":\"accepted\"}\n"; out.String() != want {
		t.Errorf("printed %s", out.String())
	}
	if err := follow.print("x", []byte(`[]`)); err == nil {
		t.Error("an array was taken")
	}
}
