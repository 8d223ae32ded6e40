package cli

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// fakeServer takes events as the server does, and settles them at once with times
// of its own making. It watches how it is asked.
type fakeServer struct {
	t *testing.T
	// answer may refuse or break a request; it says whether it did. try counts from
	// 1 for each event; stored says whether the event is in the file.
	answer func(w http.ResponseWriter, try int, stored bool) bool
	// settle may change an event's times, or drop it.
	settle func(account string, n int, r *ran) bool

	mu     sync.Mutex
	handle *sql.DB
	busy   map[string]bool // accounts with a request in flight
	tries  map[string]int
	last   map[string]ran // of each account
	events int
	order  []int // the counters in the order of acceptance
}

func (f *fakeServer) start(ctx context.Context, dir string, ready func(addr, caFile string)) error {
	f.handle = newFile(f.t, filepath.Join(dir, DemoDB))
	defer f.handle.Close()
	f.busy, f.tries, f.last = map[string]bool{}, map[string]int{}, map[string]ran{}
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(dir, "tls", "ca.pem")
	writeCA(f.t, server, ca)
	ready(server.Listener.Addr().String(), ca)
	<-ctx.Done()
	return nil
}

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/events" {
		http.NotFound(w, r)
		return
	}
	if r.TLS == nil || r.ProtoMajor != 1 || r.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("request %s %v %q", r.Proto, r.TLS, r.Header)
	}
	var ev struct {
		ClientID  string `json:"client_id"`
		MessageID string `json:"message_id"`
		Type      string
		Payload   struct{ MS, N int }
	}
	raw := json.NewDecoder(r.Body)
	raw.DisallowUnknownFields()
	if err := raw.Decode(&ev); err != nil || ev.Type != "work" {
		f.t.Errorf("event %+v: %v", ev, err)
	}
	key := ev.ClientID + " " + ev.MessageID

	f.mu.Lock()
	if f.busy[ev.ClientID] {
		f.t.Errorf("two requests of %s in flight", ev.ClientID)
	}
	f.busy[ev.ClientID] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.busy[ev.ClientID] = false
		f.mu.Unlock()
	}()

	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries[key]++
	if f.answer != nil && f.answer(w, f.tries[key], false) {
		return
	}
	if stored := f.last[ev.ClientID].n; ev.Payload.N > stored+1 {
		f.t.Errorf("%s: event %d after %d", ev.ClientID, ev.Payload.N, stored)
	} else if ev.Payload.N == stored+1 {
		f.accept(ev.ClientID, ev.MessageID, ev.Payload.MS, ev.Payload.N)
	}
	if f.answer != nil && f.answer(w, f.tries[key], true) {
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (f *fakeServer) accept(account, id string, ms, n int) {
	f.events++
	f.order = append(f.order, n)
	now := time.Now().UnixMicro()
	r := ran{account: account, n: n, times: 1, started: max(now, f.last[account].finished)}
	r.finished = r.started + int64(ms)*1000
	keep := f.settle == nil || f.settle(account, n, &r)
	f.last[account] = r
	mustExec(f.t, f.handle, `INSERT INTO outbox VALUES (?, ?, ?, 'work', ?, ?, '', NULL)`, f.events, account, id, workPayload(int64(ms), n), now)
	if keep {
		mustExec(f.t, f.handle, `INSERT INTO results VALUES (?1, 1, ?1, ?1, 'done', ?2, ?3, ?4, NULL, NULL)`, f.events, r.times, r.started, r.finished)
	}
}

var errBroken = errors.New("the server broke")

// breakOff ends a connection without an answer.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Retry-After", "0")
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprint(w, `{"type":"urn:inturn:problem:test","title":"refused","detail":"by the test"}`)
}
