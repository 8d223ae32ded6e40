package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// taker takes events over HTTP and WebSockets as the server does, keeps them in
// memory, and breaks connections at random points if told so.
type taker struct {
	t      *testing.T
	breaks bool
	refuse string // a message_id that is refused
	away   bool   // 503 for a first try
	cut    bool   // a stream breaks when it has refused

	mu     sync.Mutex
	rand   *rand.Rand
	taken  map[string][]string // by client_id: message_ids in order
	conns  int
	busy   map[string]bool
	tried  map[string]bool
	closed chan websocket.StatusCode
}

func newTaker(t *testing.T) *taker {
	return &taker{t: t, rand: rand.New(rand.NewPCG(1, 2)), taken: map[string][]string{}, busy: map[string]bool{}, tried: map[string]bool{}, closed: make(chan websocket.StatusCode, 1000)}
}

func (k *taker) start() Client {
	server := httptest.NewUnstartedServer(k)
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	k.t.Cleanup(server.Close)
	ca := filepath.Join(k.t.TempDir(), "ca.pem")
	writeCA(k.t, server, ca)
	return Client{URL: server.URL, CACert: ca, Token: "secret"}
}

func (k *taker) chance(n int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.breaks && k.rand.IntN(n) == 0
}

func (k *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Authorization") != "Bearer secret":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"title":"not you"}`)
	case r.URL.Path == "/v1/stream":
		k.stream(w, r)
	case r.URL.Path == "/v1/events":
		k.post(w, r)
	default:
		http.NotFound(w, r)
	}
}

// take returns the receipt or the problem of an event.
func (k *taker) take(text []byte, refused map[string]bool) map[string]any {
	var ev struct {
		ClientID  string `json:"client_id"`
		MessageID string `json:"message_id"`
		Type      string
		Payload   json.RawMessage
	}
	if err := json.Unmarshal(text, &ev); err != nil || ev.Payload == nil {
		k.t.Errorf("%s: %v", text, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	problem := func(status int) map[string]any {
		return map[string]any{"message_id": ev.MessageID, "type": "urn:inturn:problem:x", "status": status, "title": "no", "detail": "because"}
	}
	switch {
	case refused[ev.ClientID]:
		return problem(http.StatusFailedDependency)
	case ev.MessageID == k.refuse:
		refused[ev.ClientID] = true
		return problem(http.StatusBadRequest)
	case k.away && !k.tried[ev.ClientID+ev.MessageID]:
		k.tried[ev.ClientID+ev.MessageID] = true
		return problem(http.StatusServiceUnavailable)
	}
	duplicate := slices.Contains(k.taken[ev.ClientID], ev.MessageID)
	if !duplicate {
		k.taken[ev.ClientID] = append(k.taken[ev.ClientID], ev.MessageID)
	}
	return map[string]any{"message_id": ev.MessageID, "client_id": ev.ClientID, "seq": 1, "state": "pending", "duplicate": duplicate}
}

func (k *taker) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var id struct {
		ClientID string `json:"client_id"`
	}
	_ = json.Unmarshal(body, &id) // take says so
	k.mu.Lock()
	if k.busy[id.ClientID] {
		k.t.Errorf("two requests of %s in flight", id.ClientID)
	}
	k.busy[id.ClientID] = true
	k.mu.Unlock()
	done := func() {
		k.mu.Lock()
		k.busy[id.ClientID] = false
		k.mu.Unlock()
	}
	if k.chance(10) {
		done()
		breakOff(w)
		return
	}
	answer := k.take(body, map[string]bool{})
	done()
	if k.chance(10) {
		breakOff(w)
		return
	}
	if status, ok := answer["status"].(int); ok {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
	}
	json.NewEncoder(w).Encode(answer)
}

func (k *taker) stream(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		k.t.Error(err)
		return
	}
	defer conn.CloseNow()
	k.mu.Lock()
	k.conns++
	k.mu.Unlock()
	refused := map[string]bool{}
	if r.URL.RawQuery == "on_error=continue" {
		refused = nil
	}
	ctx := r.Context()
	var group []map[string]any
	for n := 1; ; n++ {
		_, text, err := conn.Read(ctx)
		if err != nil {
			k.closed <- websocket.CloseStatus(err)
			return
		}
		if k.chance(40) {
			return
		}
		var answer map[string]any
		if refused == nil {
			answer = k.take(text, map[string]bool{})
		} else {
			answer = k.take(text, refused)
		}
		answer["n"] = n
		if group = append(group, answer); n%3 != 0 && k.breaks {
			continue // answered with the next one, if it comes to that
		}
		if k.chance(40) {
			return
		}
		var out []byte
		if len(group) == 1 {
			out, _ = json.Marshal(group[0])
		} else {
			out, _ = json.Marshal(group)
		}
		group = nil
		if conn.Write(ctx, websocket.MessageText, out) != nil || k.cut && len(refused) > 0 {
			return
		}
	}
}

// generated writes a file of events for clients and returns their order.
func generatedFile(t *testing.T, events, clients int) (string, map[string][]string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "events.csv")
	g := Generate{File: file, Events: events, Clients: clients, Type: "message", Distribution: "random", Seed: 7}
	if err := g.Run(t.Context(), IO{io.Discard, io.Discard}); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	items := make(chan item, events)
	if err := readItems(t.Context(), f, items); err != nil {
		t.Fatal(err)
	}
	close(items)
	for it := range items {
		want[it.clientID] = append(want[it.clientID], it.messageID)
	}
	return file, want
}

func (k *taker) check(want map[string][]string) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for client, ids := range want {
		if !slices.Equal(k.taken[client], ids) {
			k.t.Errorf("%s: taken %v, the file has %v", client, k.taken[client], ids)
		}
	}
	if len(k.taken) != len(want) {
		k.t.Errorf("%d clients, the file has %d", len(k.taken), len(want))
	}
}

func sendTo(c Client, file string, stream bool) Send {
	if stream {
		c.URL = "wss" + strings.TrimPrefix(c.URL, "https") + "/v1/stream"
	} else {
		c.URL += "/v1/events" // the server's address does as well
	}
	return Send{Client: c, File: file, Connections: 8, Patience: time.Minute, JSON: true}
}

// Each event is taken once and in the order of the file, also where connections break
// before and after an event is stored, and where the server is busy for a while.
func TestSend(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for _, trouble := range []string{"", "breaks", "away"} {
			t.Run(fmt.Sprintf("stream=%t/%s", stream, trouble), func(t *testing.T) {
				t.Parallel()
				server := newTaker(t)
				server.breaks, server.away = trouble == "breaks", trouble == "away"
				n := 300
				if trouble == "away" {
					n = 20 // each is tried twice, a stream begins anew
				}
				file, want := generatedFile(t, n, 20)
				out, written, _ := newIO()
				if err := sendTo(server.start(), file, stream).Run(t.Context(), out); err != nil {
					t.Fatal(err)
				}
				server.check(want)
				var sum struct{ Accepted, Duplicates, Refused int }
				if err := json.Unmarshal(written.Bytes(), &sum); err != nil || sum.Accepted+sum.Duplicates != n || sum.Refused != 0 {
					t.Errorf("%s: %v", written, err)
				}
				if trouble == "breaks" && sum.Duplicates == 0 {
					t.Error("no answer was lost: the test shows nothing")
				}
				if stream && trouble == "" {
					if status := <-server.closed; status != websocket.StatusNormalClosure || server.conns != 1 {
						t.Errorf("%d connections, closed with %v", server.conns, status)
					}
				}
			})
		}
	}
}

// A refused event holds the later ones of its client_id, and nobody else's.
func TestSendRefused(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for _, goOn := range []bool{false, true} {
			t.Run(fmt.Sprintf("stream=%t/continue=%t", stream, goOn), func(t *testing.T) {
				t.Parallel()
				server := newTaker(t)
				server.refuse, server.cut = "7-m3", true
				file, want := generatedFile(t, 200, 20)
				notSent := 0
				for client, ids := range want {
					at := slices.Index(ids, "7-m3")
					switch {
					case at < 0:
					case goOn:
						want[client] = slices.Delete(ids, at, at+1)
					default:
						notSent += len(ids) - at - 1
						want[client] = ids[:at]
					}
				}
				out, written, told := newIO()
				s := sendTo(server.start(), file, stream)
				s.JSON, s.Continue = false, goOn
				err := s.Run(t.Context(), out)
				if err == nil || !strings.Contains(err.Error(), "were refused") || Fail(io.Discard, err) != 1 {
					t.Errorf("said %v", err)
				}
				server.check(want)
				if (notSent > 0) != strings.Contains(written.String(), fmt.Sprintf("not sent   %d\n", notSent)) {
					t.Errorf("%d are not to be sent:\n%s", notSent, written)
				}
				if !strings.Contains(told.String(), "7-m3: refused: 400") || !strings.Contains(told.String(), "because") {
					t.Errorf("told %s", told)
				}
			})
		}
	}
}

func TestSendGivesUp(t *testing.T) {
	file, _ := generatedFile(t, 5, 2)
	for _, stream := range []bool{false, true} {
		server := newTaker(t)
		c := server.start()
		out, _, _ := newIO()
		wrong := sendTo(c, file, stream)
		wrong.Token = "other"
		if err := wrong.Run(t.Context(), out); err == nil || !stream && !strings.Contains(err.Error(), "were refused") || stream && !strings.Contains(err.Error(), "not you") {
			t.Errorf("stream=%t: said %v", stream, err)
		}
		unknown := sendTo(c, file, stream)
		unknown.CACert = ""
		if err := unknown.Run(t.Context(), out); !hinted(err, "--cacert") || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("stream=%t: said %v", stream, err)
		}
		plain := sendTo(c, file, stream)
		plain.URL = strings.Replace(plain.URL, "s://", "://", 1)
		if err := plain.Run(t.Context(), out); !errors.Is(err, errPlain) {
			t.Errorf("stream=%t: said %v to a server of HTTPS that is asked without", stream, err)
		}
		gone := sendTo(c, file, stream)
		gone.URL, gone.Patience = strings.Split(gone.URL, "://")[0]+"://127.0.0.1:1", time.Millisecond
		if err := gone.Run(t.Context(), out); !hinted(err, "is the server running") || !strings.Contains(err.Error(), "nothing was taken for") {
			t.Errorf("stream=%t: said %v", stream, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone.Patience = time.Hour
		told := &notify{on: "waiting for the server", then: cancel}
		if err := gone.Run(ctx, IO{io.Discard, told}); err == nil || Fail(told, err) != 1 {
			t.Errorf("stream=%t: said %v", stream, err)
		}
	}
}

// hinted reports whether err comes with a hint that has text in it.
func hinted(err error, text string) bool {
	h, ok := errors.AsType[*Hint](err)
	return ok && strings.Contains(h.Hint, text)
}

// notify calls then once something is written that has on in it.
type notify struct {
	on   string
	then func()
}

func (n *notify) Write(p []byte) (int, error) {
	if strings.Contains(string(p), n.on) {
		n.then()
	}
	return len(p), nil
}

func TestReadItems(t *testing.T) {
	for _, c := range []struct {
		name, text, want, err string
	}{
		{"csv", "client_id,message_id,type,payload\na,1,work,\"{\"\"ms\"\": 1}\"\r\nb,2,,\"[1,\n2]\"\n",
			`2 a 1 {"client_id":"a","message_id":"1","type":"work","payload":{"ms":1}}|3 b 2 {"client_id":"b","message_id":"2","payload":[1,2]}|`, ""},
		{"bom", "\ufeffclient_id,message_id,type,payload\na,1,work,1", `2 a 1 {"client_id":"a","message_id":"1","type":"work","payload":1}|`, ""},
		{"ndjson", "\n  {\"client_id\":\"a\",\"message_id\":\"1\",\"payload\": 1}\n\n{\"client_id\":\"b\",\"message_id\":\"2\",\"more\":2}",
			`1 a 1 {"client_id":"a","message_id":"1","payload": 1}|3 b 2 {"client_id":"b","message_id":"2","more":2}|`, ""},
		{"empty", "", "", ""},
		{"another header", "a,b\n1,2\n", "", "the first line is"},
		{"a payload that would be more than one", "client_id,message_id,type,payload\na,1,work,\"1,\"\"client_id\"\":\"\"b\"\"\"\n", "", "line 2: payload is not JSON"},
		{"a payload with a name twice", "client_id,message_id,type,payload\na,1,work,\"{\"\"a\"\":{\"\"b\"\":1,\"\"b\"\":2}}\"\n", "", "line 2: payload has two members /a/b"},
		{"half a row", "client_id,message_id,type,payload\na,1\n", "", "wrong number of fields"},
		{"a broken line", "{\"client_id\":\"a\"}\n{\"client_id\":", `1 a  {"client_id":"a"}|`, "line 2:"},
	} {
		items := make(chan item, 10)
		err := readItems(t.Context(), strings.NewReader(c.text), items)
		close(items)
		got := ""
		for it := range items {
			got += fmt.Sprintf("%d %s %s %s|", it.line, it.clientID, it.messageID, it.body)
		}
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
}

// TestSendRefusesFile: what isn't a file of events is told before the server is asked.
func TestSendRefusesFile(t *testing.T) {
	dir := t.TempDir()
	array := filepath.Join(dir, "array.json")
	mustWrite(t, array, `[{"client_id":"a"}]`)
	for file, want := range map[string]string{dir: "is a folder", array: "NDJSON: one JSON object a line"} {
		out, _, _ := newIO()
		err := Send{Client: Client{URL: "https://127.0.0.1:1"}, File: file, Connections: 1, Patience: time.Second}.Run(t.Context(), out)
		told := fmt.Sprint(err)
		if h, ok := errors.AsType[*Hint](err); ok {
			told += " " + h.Hint
		}
		if !strings.Contains(told, want) {
			t.Errorf("%s: %s", file, told)
		}
	}
}
