package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What a client sends is told to a reader of GET /v1/watch when it is accepted and when it is
// settled, and the reader doesn't hold up the end of the server.
func TestWatchFromAcceptedToSettled(t *testing.T) {
	p := serveHere(t, shippedFunctions(), "--db", t.TempDir()+"/inturn.db")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.Public+"/v1/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	post, err := p.client.Post("https://"+p.Public+"/v1/events", "application/json", strings.NewReader(`{"client_id":"a","message_id":"1","type":"work","payload":{"ms":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	post.Body.Close()
	var kinds []string
	lines := bufio.NewScanner(resp.Body)
	for len(kinds) < 2 && lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var n struct {
				MessageID string `json:"message_id"`
				State     string `json:"state"`
			}
			if err := json.Unmarshal([]byte(data), &n); err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, n.MessageID+n.State)
		}
	}
	if got := strings.Join(kinds, " "); got != "1 1done" {
		t.Errorf("told %q: %v", got, lines.Err())
	}
	p.cancel()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the stream was cut: %v", err)
	}
}
