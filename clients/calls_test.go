package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/internal/program"
)

const (
	secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	other  = "whsec_OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2"
)

// call is what the server sent to an endpoint.
type call struct {
	headers map[string]string
	body    string
}

// Each client believes a call of the real server, and nothing that differs from it; and
// what it answers is emitted.
func TestCalls(t *testing.T) {
	t.Parallel()
	all := kits(t)
	var mu sync.Mutex
	var calls []call
	answers := map[string]said{}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var event struct {
			Data struct{ Kit string }
		}
		if err := json.Unmarshal(body, &event); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		c := call{map[string]string{}, string(body)}
		for name := range r.Header {
			c.headers[name] = r.Header.Get(name)
		}
		mu.Lock()
		calls = append(calls, c)
		answer := answers[event.Data.Kit]
		mu.Unlock()
		for name, value := range answer.Headers {
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, answer.Body)
	}))
	t.Cleanup(endpoint.Close)
	s := program.Serve(t, t.TempDir(), []string{"INTURN_FUNCTION_SECRET=" + secret}, "--function", "greet="+endpoint.URL)
	for _, k := range all {
		lines := start(t, k, "emit", map[string]any{"events": []map[string]any{
			{"message_id": k.name + "-own", "type": "work", "payload": map[string]any{"ms": 0}},
			{"client_id": "someone " + k.name, "message_id": "1", "type": "work", "payload": map[string]any{"ms": 0, "text": "é <&>"}},
		}}).wait()
		if len(lines) != 1 {
			t.Fatalf("%s emit: %+v", k.name, lines)
		}
		mu.Lock()
		answers[k.name] = lines[0]
		mu.Unlock()
		a := s.Post(t, fmt.Sprintf(`{"client_id":"anna","message_id":%q,"type":"greet","payload":{"kit":%q,"text":"é <&>"}}`, k.name, k.name), "-H", "Prefer: wait=60")
		if !strings.Contains(a.Body, `"state":"done"`) || !strings.Contains(a.Body, `"client_id":"anna","message_id":"`+k.name+`-own"`) || !strings.Contains(a.Body, `"client_id":"someone `+k.name+`","message_id":"1"`) {
			t.Errorf("%s: the emitted events' receipts are not the result: %d %s", k.name, a.Status, a.Body)
		}
	}
	if len(calls) != len(all) {
		t.Fatalf("%d calls", len(calls))
	}
	good := calls[0]
	old := strconv.FormatInt(time.Now().Add(-10*time.Minute).Unix(), 10)
	for _, c := range []struct {
		what    string
		secrets any
		body    string
		header  string
		value   string
		good    bool
	}{
		{"as it came", secret, good.body, "", "", true},
		{"the second of two secrets", []string{other, secret}, good.body, "", "", true},
		{"the second of two signatures", secret, good.body, "Webhook-Signature", "v1,AAAA " + good.headers["Webhook-Signature"], true},
		{"another secret", other, good.body, "", "", false},
		{"another body", secret, good.body + " ", "", "", false},
		{"another id", secret, good.body, "Webhook-Id", "msg_x", false},
		{"no id", secret, good.body, "Webhook-Id", "", false},
		{"another time", secret, good.body, "Webhook-Timestamp", "1", false},
		{"an old time", secret, good.body, "Webhook-Timestamp", old, false},
		{"no time", secret, good.body, "Webhook-Timestamp", "", false},
		{"no signature", secret, good.body, "Webhook-Signature", "", false},
		{"a signature of another version", secret, good.body, "Webhook-Signature", "v2" + strings.TrimPrefix(good.headers["Webhook-Signature"], "v1"), false},
	} {
		headers := maps.Clone(good.headers)
		if c.header != "" {
			headers[c.header] = c.value
		}
		for _, k := range all {
			lines := start(t, k, "verify", map[string]any{"secrets": c.secrets, "headers": headers, "body": c.body}).wait()
			switch {
			case len(lines) != 1:
				t.Errorf("%s, %s: %+v", k.name, c.what, lines)
			case !c.good && lines[0].Error != "signature":
				t.Errorf("%s, %s: believed", k.name, c.what)
			case c.good:
				var event struct {
					ID           string `json:"id"`
					PartitionKey string `json:"partitionkey"`
					Type         string `json:"type"`
					Data         struct{ Text string }
				}
				if err := json.Unmarshal(lines[0].Event, &event); err != nil || event.ID != all[0].name || event.PartitionKey != "anna" || event.Type != "greet" || event.Data.Text != "é <&>" {
					t.Errorf("%s, %s: %s, %v", k.name, c.what, lines[0].Event, err)
				}
			}
		}
	}
}
