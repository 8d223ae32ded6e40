package proofs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
)

// What answers that are not read may cost beside the idle server.
const mostUnread = 128 << 20 // bytes, resident

// large is the length of payloads here, and of results.
const (
	largePayload = 1_000_000
	largeResult  = 250_000
)

// However many clients ask for large answers and read none of them, in whatever way they ask,
// the server's memory stays bounded, the rest is told to come later, and small answers go on.
func TestUnreadAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := bytes.Repeat([]byte("r"), largeResult)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte(`"dead":true`)) {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"text":"%s"}`, text)
	}))
	t.Cleanup(endpoint.Close)
	flags := []string{"--function", "big=" + endpoint.URL, "--drain", "1s"}
	p := start(t, dir, flags...)
	url := p.ready()
	fillLarge(t, dial(t, dir), url)
	drained(t, dir)
	p.stops()

	for _, u := range []unread{
		{"a page of large events", "GET", "/v1/events?client_id=large&limit=32", "", ""},
		{"all events", "GET", "/v1/events?limit=1000", "", ""},
		{"one large event", "GET", "/v1/events/large/3", "", ""},
		{"large results", "GET", "/v1/events?client_id=results&limit=1000", "", ""},
		{"dead events", "GET", "/v1/dead?limit=1000", "", ""},
		{"runs", "GET", "/v1/events/results/0/runs", "", ""},
		{"accounts", "GET", "/v1/accounts?limit=1000", "", ""},
		{"the audit", "GET", "/v1/audit?limit=1000", "", ""},
		{"a batch of repeats", "POST", "/v1/events", "application/json", repeatsOf(false, 100)},
		{"a batch of refused events", "POST", "/v1/events", "application/json", "[" + strings.TrimSuffix(strings.Repeat(`{"client_id":"a","message_id":"1","type":"nothing of this name","payload":1},`, 1000), ",") + "]"},
		{"lines of repeats", "POST", "/v1/events", "application/x-ndjson", repeatsOf(true, 500)},
		{"frames of repeats", "GET", "/v1/stream", "", repeatsOf(true, 500)},
	} {
		t.Run(u.name, func(t *testing.T) { u.press(t, dir, flags) })
	}
}

// unread is a request whose answer is large.
type unread struct{ name, method, path, contentType, body string }

// press sends u on 150 connections of HTTP/1.1 and 100 streams of HTTP/2, reads nothing, and
// watches a server that has done nothing else.
func (u unread) press(t *testing.T, dir string, flags []string) {
	p := start(t, dir, flags...)
	s := &siege{t: t, p: p, url: p.ready()}
	s.addr = strings.TrimPrefix(s.url, "https://")
	s.kept = dial(t, dir)
	s.tls = s.kept.http.Transport.(*http.Transport).TLSClientConfig
	defer s.kept.http.CloseIdleConnections()
	s.small()
	idle, ok := p.usage()
	if !ok {
		t.Skip("the memory of a process is not known here")
	}
	a := &assault{siege: s}
	defer a.hangUp()
	var worst atomic.Int64
	quit := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			now, _ := p.usage()
			worst.Store(max(worst.Load(), now.memory))
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n", u.method, u.path)
	if u.body != "" {
		head += fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", u.contentType, len(u.body))
	}
	var sent sync.WaitGroup
	for range 150 {
		if u.path == "/v1/stream" {
			sent.Go(a.frames(t.Context(), u.body))
			continue
		}
		c, err := a.connect("http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
		sent.Go(func() { _, _ = io.WriteString(c, head+"\r\n"+u.body) })
	}
	if u.body == "" { // bodies would need the windows of HTTP/2
		h, err := a.h2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint32(100) {
			h.open(2*i+1, u.method, u.path, true)
		}
		if err := h.settled(h.listen()); err != nil {
			t.Fatal(err)
		}
	}
	// While all of them wait, others are served: until the memory has stood still for some
	// rounds, for which a slow server takes longer.
	for round, still, most := 0, 0, int64(0); round < 30 && still < 8; round++ {
		s.small()
		time.Sleep(50 * time.Millisecond)
		if still++; worst.Load() > most+1<<20 {
			still, most = 0, worst.Load()
		}
	}
	close(quit)
	watch.Wait()
	grown := worst.Load() - idle.memory
	t.Logf("idle %d MiB, at most %d MiB more", idle.memory>>20, grown>>20)
	if grown > mostUnread {
		t.Errorf("answers that are not read cost %d MiB", grown>>20)
	}
	a.hangUp()
	sent.Wait()
	p.stops()
}

// frames returns what sends lines on a stream, a frame each, and reads nothing.
func (a *assault) frames(ctx context.Context, lines string) func() {
	transport := &http.Transport{TLSClientConfig: a.tls.Clone()}
	c, _, err := websocket.Dial(ctx, a.url+"/v1/stream", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = c.CloseNow() })
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // the server stops reading
	return func() {
		defer cancel()
		for line := range strings.Lines(lines) {
			if c.Write(ctx, websocket.MessageText, []byte(line)) != nil {
				return
			}
		}
	}
}

// small asks for a small answer, which is always there.
func (s *siege) small() {
	s.t.Helper()
	a, err := s.kept.get(context.Background(), s.url+"/v1/events/small/0")
	if err != nil || a.Status != http.StatusOK {
		s.t.Errorf("a small answer: %v, %d %s", err, a.Status, a.Detail)
	}
}

// fillLarge fills a file with what has large answers.
func fillLarge(t *testing.T, c *client, url string) {
	post := func(path, contentType, body string) answer {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		a, err := c.do(r)
		if err != nil || a.Status > 299 {
			t.Fatalf("%s: %v, %d %s %s", path, err, a.Status, a.Type, a.Detail)
		}
		return a
	}
	pad := strings.Repeat("p", largePayload)
	for i := range 40 {
		post("/v1/events", "application/json", fmt.Sprintf(`{"client_id":"large","message_id":"%d","type":"work","payload":{"ms":0,"pad":"%s"}}`, i, pad))
	}
	for i := range 20 {
		post("/v1/events", "application/json", fmt.Sprintf(`{"client_id":"dead","message_id":"%d","type":"big","payload":{"dead":true,"pad":"%s"}}`, i, pad))
	}
	post("/v1/events", "application/json", `{"client_id":"small","message_id":"0","type":"work","payload":{"ms":0}}`)
	post("/v1/events", "application/json", repeatsOf(false, 100))
	var accounts strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&accounts, `{"client_id":"%0250d","message_id":"0","type":"work","payload":{"ms":0}}`+"\n", i)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/events?answers=refused", strings.NewReader(accounts.String()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	w, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(w.Body); err != nil || !bytes.Contains(said, []byte(`"accepted":3000`)) {
		t.Fatalf("%v, %.300s", err, said)
	}
	w.Body.Close()
	reason, _ := json.Marshal(strings.Repeat("because ", 500))
	for range 200 {
		for _, verb := range []string{"pause", "resume"} {
			post("/v1/accounts/small/"+verb, "application/json", `{"reason":`+string(reason)+`}`)
		}
	}
	head, err := c.get(t.Context(), url+"/v1/events/results/0")
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // each makes a run of a large result
		eventually(t, "a replay", func() bool { // the one before must have ended
			body := fmt.Sprintf(`{"from":%d,"to":%d}`, head.Seq, head.Seq)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/accounts/results/replay", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			a, err := c.do(r)
			return err == nil && a.Status == http.StatusOK
		})
	}
}

// repeatsOf is n events with large results, as a batch or as lines. Of more than 100 the same
// come again.
func repeatsOf(lines bool, n int) string {
	var events []string
	for i := range n {
		events = append(events, fmt.Sprintf(`{"client_id":"results","message_id":"%d","type":"big","payload":{}}`, i%100))
	}
	if lines {
		return strings.Join(events, "\n") + "\n"
	}
	return "[" + strings.Join(events, ",") + "]"
}
