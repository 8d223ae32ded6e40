package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"

	"github.com/coder/websocket"

	"inturn/db/sqlite"
)

// streamServer checks at the end that no stream is left, and no memory of one.
func streamServer(t *testing.T, o Options) (addr string) {
	t.Helper()
	if o.Streams == nil {
		o.Streams = NewStreams(0)
	}
	addr = serve(t, Server(newAPI(t, o), nil, nil), 0)
	t.Cleanup(func() { // before the server's end, after the client's
		if err := o.Streams.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		if o.Streams.held != 0 {
			t.Errorf("%d bytes are still counted", o.Streams.held)
		}
	})
	return addr
}

func TestAStream(t *testing.T) {
	for _, query := range []string{"", "?on_error=continue"} {
		s := mixedStore(t)
		c := connectRaw(t, streamServer(t, Options{Store: s}), query)
		s.first++
		var got []entry
		var want []string
		told := strings.Split(mixedTold(query != ""), "\n")
		for i, m := range mixed {
			if strings.Contains(m.body, "full") { // waits; see below
				continue
			}
			c.frame(opText, m.body+"\r\n\n")
			got, want = append(got, c.answers(1)...), append(want, strings.Replace(told[i], "done/1 0", "done/1 -1", 1))
		}
		if said(got) != strings.Join(want, "\n") {
			t.Errorf("%s got\n%s\nwant\n%s", query, said(got), strings.Join(want, "\n"))
		}
		c.frame(opClose, closeCode(1000))
		c.closed(1000)
	}
}

// connectHeld connects to a store that holds each batch until its size is received.
func connectHeld(t *testing.T, o Options) (*rawStream, *fakeStore) {
	s := &fakeStore{batches: make(chan int)}
	o.Store = s
	addr := streamServer(t, o)
	go func() { <-s.batches }()
	return connectRaw(t, addr, ""), s
}

// free lets batches go until they had n events, and returns how many there were.
func (s *fakeStore) free(n int) (batches int) {
	for ; n > 0; batches++ {
		n -= <-s.batches
	}
	return batches
}

func TestFramesShareCommits(t *testing.T) {
	c, s := connectHeld(t, Options{})
	const frames = 300
	for i := range frames {
		c.frame(opText, small("a", fmt.Sprint(i)))
	}
	c.heard()
	if n := s.free(frames); n > 2 { // what came first, and all the others
		t.Errorf("%d frames took %d commits", frames, n)
	}
	for i, e := range c.answers(frames) {
		if e.Status != 202 || e.MessageID != fmt.Sprint(i) {
			t.Errorf("answer %d: %s", i, e.said())
		}
	}
}

// A sender that closes, or ends its half of the connection, right after its last
// frame gets every answer first.
func TestAnswersComeBeforeTheClose(t *testing.T) {
	for _, name := range []string{"close", "half close"} {
		t.Run(name, func(t *testing.T) {
			c, s := connectHeld(t, Options{})
			c.frame(opText, small("a", "1"))
			if name == "close" {
				c.raw(append(frameOf(opText, small("a", "2"), true), frameOf(opClose, closeCode(1000), true)...))
			} else {
				c.frame(opText, small("a", "2"))
				c.Conn.(*net.TCPConn).CloseWrite()
			}
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // time to do it wrong
			if opcode, payload, err := c.next(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("before anything was written: opcode %d, %q, %v", opcode, payload, err)
			}
			c.SetReadDeadline(time.Time{})
			s.free(2)
			for _, e := range c.answers(2) {
				if e.Status != 202 {
					t.Error(e.said())
				}
			}
			if name == "close" {
				c.closed(1000)
			}
		})
	}
}

// A blank frame is no event: it stops no account and is not counted.
func TestBlankFrames(t *testing.T) {
	c := connectRaw(t, streamServer(t, Options{}), "")
	for _, frame := range []string{"", " ", small("a", "1"), "\n", "\r\n\t ", small("a", "2"), ""} {
		c.frame(opText, frame)
	}
	for i, e := range c.answers(2) {
		if e.Status != 202 || e.N != i+2 || e.MessageID != fmt.Sprint(i+1) {
			t.Errorf("answer %d: %+v", i, e)
		}
	}
	c.frame(opClose, closeCode(1000))
	c.closed(1000)
}

func TestHowAStreamEnds(t *testing.T) {
	good := frameOf(opText, small("a", "1"), true)
	for _, tt := range []struct {
		name string
		raw  []byte
		code int
	}{
		{"binary", frameOf(opBinary, small("a", "2"), true), 1003},
		{"invalid UTF-8", frameOf(opText, "\"\xff\"", true), 1007},
		{"too long", frameOf(opText, strings.Repeat("x", 5001), true), 1009},
		{"too long, and never whole", frameOf(opText, strings.Repeat("x", 1<<20), true)[:9000], 1009},
		{"too long in parts", append(frameOf(opText, strings.Repeat("x", 3000), false), frameOf(opContinuation, strings.Repeat("x", 3000), true)...), 1009},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connectRaw(t, streamServer(t, Options{MaxEvent: 5000}), "")
			c.raw(append(slices.Clone(good), tt.raw...))
			if got := said(c.answers(1)); got != "202 a/1 2 pending" {
				t.Errorf("the frame before it: %s", got)
			}
			opcode, payload, err := c.next()
			if err != nil || opcode != opClose || payload[:2] != closeCode(tt.code) {
				t.Errorf("opcode %d, %q, %v; want %d", opcode, payload, err, tt.code)
			}
		})
	}
	for _, tt := range []struct {
		name string
		raw  []byte
	}{
		{"a bit that is reserved", append([]byte{0xc1}, good[1:]...)},
		{"an opcode that is none", append([]byte{0x83}, good[1:]...)},
		{"not masked", []byte{0x81, 1, 'x'}},
		{"a continuation of nothing", frameOf(opContinuation, "x", true)},
		{"a ping that is too long", frameOf(opPing, strings.Repeat("x", 126), true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connectRaw(t, streamServer(t, Options{}), "")
			c.raw(tt.raw)
			for {
				opcode, payload, err := c.next()
				if err != nil {
					break // gone
				}
				if opcode != opClose || payload[:2] != closeCode(1002) {
					t.Fatalf("opcode %d, %q", opcode, payload)
				}
			}
		})
	}
}

func TestAnEventInParts(t *testing.T) {
	c := connectRaw(t, streamServer(t, Options{}), "")
	text := small("a", "1")
	c.raw(frameOf(opText, text[:10], false))
	c.heard() // control frames may stand between
	c.raw(frameOf(opContinuation, text[10:], true))
	if got := said(c.answers(1)); got != "202 a/1 2 pending" {
		t.Error(got)
	}
}

// What is read when shutdown begins is answered; then the stream is closed.
func TestAStreamAtShutdown(t *testing.T) {
	stopping := make(chan struct{})
	s := &fakeStore{batches: make(chan int), received: make(chan db.Event)}
	addr := streamServer(t, Options{Store: s, Stopping: stopping})
	go func() { <-s.batches; <-s.received }()
	c := connectRaw(t, addr, "")
	c.frame(opText, small("a", "1"))
	s.free(1) // it is being written
	c.frame(opText, small("a", "2"))
	c.heard()
	close(stopping)
	<-time.After(50 * time.Millisecond) // time to do it wrong
	<-s.received
	s.free(1)
	<-s.received
	if got := said(c.answers(2)); got != "202 a/1 2 pending\n202 a/2 3 pending" {
		t.Error(got)
	}
	c.closed(1001)
	r, err := http.Get("http://" + c.RemoteAddr().String() + "/v1/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer r.Body.Close()
	if r.StatusCode != 503 {
		t.Errorf("a new stream: %s", r.Status)
	}
}

// Full is not said on a stream: it waits, in the storage's place and the account's.
func TestAStreamWaitsForRoom(t *testing.T) {
	log, lines := logLines()
	c, s := connectHeld(t, Options{Log: log})
	s.mu.Lock()
	s.full = map[string]error{"full": db.ErrAccountFull, "late": db.ErrBacklogFull}
	s.batchErrs = []error{db.ErrOverloaded, db.ErrStorageFull}
	s.mu.Unlock()
	c.frame(opText, small("a", "1"))
	<-s.batches // overloaded
	c.raw(slices.Concat(frameOf(opText, small("full", "1"), true), frameOf(opText, small("late", "1"), true),
		frameOf(opText, small("full", "2"), true), frameOf(opText, small("b", "1"), true), frameOf(opText, small("late", "2"), true)))
	c.heard()
	<-s.batches // the disk is full
	if n := <-s.batches; n != 1 {
		t.Errorf("%d events", n)
	}
	if got := said(c.answers(1)); got != "202 a/1 2 pending" {
		t.Errorf("got %s", got)
	}
	if n := <-s.batches; n != 5 {
		t.Errorf("%d events", n)
	}
	if n := <-s.batches; n != 4 { // b is stored, and waits for its turn to be answered
		t.Errorf("%d events", n)
	}
	s.mu.Lock()
	delete(s.full, "late")
	s.mu.Unlock()
	for n := <-s.batches; n != 2; n = <-s.batches {
	}
	s.mu.Lock()
	s.full = nil
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := range s.batches {
			if n < 0 {
				return
			}
		}
	}()
	want := "202 full/1 6 pending\n202 late/1 4 pending\n202 full/2 7 pending\n202 b/1 3 pending\n202 late/2 5 pending"
	if got := said(c.answers(5)); got != want {
		t.Errorf("got\n%s", got)
	}
	s.batches <- -1
	<-ended
	for _, l := range lines() {
		if l["problem"] != nil {
			t.Errorf("log: %v", l)
		}
	}
}

// A stream that waits for room ends with shutdown; what was not stored is not answered.
func TestShutdownOfAStreamThatWaits(t *testing.T) {
	s := &fakeStore{full: map[string]error{"full": db.ErrAccountFull}}
	stopping := make(chan struct{})
	c := connectRaw(t, streamServer(t, Options{Store: s, Stopping: stopping}), "")
	c.frame(opText, small("full", "1"))
	c.heard()
	close(stopping)
	c.closed(1001)
}

// Who is gone waits for no room: its place is for others.
func TestASenderThatIsGoneWhileItsStreamWaits(t *testing.T) {
	s, streams := &fakeStore{full: map[string]error{"full": db.ErrAccountFull}}, NewStreams(0)
	c := connectRaw(t, streamServer(t, Options{Store: s, Streams: streams}), "")
	c.frame(opText, small("full", "1"))
	c.heard()
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil { // a reset, as of a process that was killed
		t.Fatal(err)
	}
	c.Close()
	if err := streams.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAStreamAndAStorageThatFails(t *testing.T) {
	s := &fakeStore{}
	log, lines := logLines()
	h, handled := newAPI(t, Options{Store: s, Log: log}), make(chan struct{})
	c := connectRaw(t, serve(t, Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(handled)
		h.ServeHTTP(w, r)
	}), nil, nil), 0), "")
	s.mu.Lock()
	s.batchErrs = []error{db.ErrOutcomeUnknown}
	s.mu.Unlock()
	c.frame(opText, small("a", "1"))
	c.closed(1011)
	<-handled
	if got := lines(); len(got) != 1 || got[0]["level"] != "WARN" || got[0]["problem"] != "outcome-unknown" || got[0]["status"] != 101.0 {
		t.Errorf("log: %v", got)
	}
}

// While answers are not read, no frames are: neither side's memory grows.
func TestAnswersThatAreNotRead(t *testing.T) {
	streams := NewStreams(0)
	store := &instantStore{}
	c := connectRaw(t, streamServer(t, Options{Store: store, Streams: streams}), "")
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	many := bytes.Repeat(frameOf(opText, small("a", strings.Repeat("i", 200)), true), 1000)
	sent := 0
	var err error
	for err == nil && sent < 1<<30 {
		var n int
		n, err = c.Write(many)
		sent += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were taken: %v", sent, err)
	}
	streams.mu.Lock()
	held := streams.held
	streams.mu.Unlock()
	if held > 3*groupBytes {
		t.Errorf("%d bytes are held", held)
	}
	// Once they are read, it goes on.
	whole := sent / len(frameOf(opText, small("a", strings.Repeat("i", 200)), true))
	got := 0
	for got < whole {
		opcode, payload, err := c.next()
		if err != nil || opcode != opText {
			t.Fatalf("after %d of %d answers: %d, %v", got, whole, opcode, err)
		}
		got += len(c.entries(payload))
	}
}

func TestHandshakes(t *testing.T) {
	tokens, err := LoadTokens(tokenFile(t, fmt.Sprintf(`{"tokens":[{"name":"n","hash":%q,"scopes":["read"]},{"name":"m","hash":%q,"scopes":["ingest"],"client_ids":["first","a"]}]}`, HashToken("r"), HashToken("w"))), "")
	if err != nil {
		t.Fatal(err)
	}
	addr := streamServer(t, Options{Tokens: tokens})
	auth := []string{"Authorization", "Bearer w"}
	for _, tt := range []struct {
		name    string
		target  string
		headers []string
		want    string
	}{
		{"no token", "/v1/stream", upgradeHeaders(), "401 unauthorized"},
		{"wrong token", "/v1/stream", upgradeHeaders("Authorization", "Bearer x"), "401 unauthorized"},
		{"wrong scope", "/v1/stream", upgradeHeaders("Authorization", "Bearer r"), "403 forbidden"},
		{"no WebSocket", "/v1/stream", auth, "426 upgrade-required"},
		{"another version", "/v1/stream", append([]string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "8", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}, auth...), "400 invalid-request"},
		{"no key", "/v1/stream", append([]string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"}, auth...), "400 invalid-request"},
		{"another origin", "/v1/stream", upgradeHeaders("Authorization", "Bearer w", "Origin", "https://evil.example"), "403 cross-origin"},
		{"an origin without a host", "/v1/stream", upgradeHeaders("Authorization", "Bearer w", "Origin", "null"), "403 cross-origin"},
		{"an on_error that is none", "/v1/stream?on_error=x", upgradeHeaders(auth...), "400 invalid-request"},
	} {
		r, _ := http.NewRequest("GET", "http://"+addr+tt.target, nil)
		for i := 0; i < len(tt.headers); i += 2 {
			r.Header.Set(tt.headers[i], tt.headers[i+1])
		}
		transport := &http.Transport{DisableKeepAlives: true}
		w, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		var p struct{ Type string }
		err = json.NewDecoder(w.Body).Decode(&p)
		if got := fmt.Sprint(w.StatusCode, " ", strings.TrimPrefix(p.Type, "urn:inturn:problem:")); err != nil || got != tt.want || w.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s, %s, %v, want %s", tt.name, got, w.Header.Get("Content-Type"), err, tt.want)
		}
		w.Body.Close()
	}
	// The same host is no other origin, and a foreign client_id holds only itself.
	c := connectRaw(t, addr, "", "Authorization", "Bearer w", "Origin", "http://"+addr)
	c.frame(opText, small("b", "1"))
	c.frame(opText, small("a", "1"))
	if got := said(c.answers(2)); got != "403 forbidden\n202 a/1 2 pending" {
		t.Error(got)
	}
}

// A token that is taken back ends the stream, and is good for no further line.
func TestATokenThatIsTakenBack(t *testing.T) {
	file := tokenFile(t, fmt.Sprintf(`{"tokens":[{"name":"n","hash":%q,"scopes":["ingest"]}]}`, HashToken("x")))
	tokens, err := LoadTokens(file, "")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeStore{}
	addr := streamServer(t, Options{Store: s, Tokens: tokens})
	c := connectRaw(t, addr, "", "Authorization", "Bearer x")
	l := sendLines(t, addr, "Authorization", "Bearer x")
	if err := os.WriteFile(file, []byte(`{"tokens":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); err != nil {
		t.Fatal(err)
	}
	c.frame(opText, small("a", "1"))
	c.closed(1008)
	fmt.Fprintln(l, small("a", "1"))
	if e := l.next(t); e.said() != "401 unauthorized" {
		t.Error(e.said())
	}
	l.Close()
	if len(s.events) != 1 {
		t.Errorf("%d events are stored", len(s.events))
	}
}

// The client of the same library, over TLS and the real storage, and all of it again
// after a reconnect: repeats.
func TestManyFramesToTheRealStore(t *testing.T) {
	set := testSet(t)
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "inturn.db"), Check: set.Check})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	addr := streamServer(t, Options{Store: store, Functions: set})
	const events = 5000
	for round := range 2 {
		conn, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/v1/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		var sending sync.WaitGroup
		sending.Go(func() {
			for i := range events {
				ev := small(fmt.Sprint("c", i%100), fmt.Sprint(i))
				if err := conn.Write(t.Context(), websocket.MessageText, []byte(ev+"\n")); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for n := 0; n < events; {
			_, b, err := conn.Read(t.Context())
			if err != nil {
				t.Fatalf("after %d answers: %v", n, err)
			}
			if b[0] != '[' {
				b = slices.Concat([]byte("["), b, []byte("]"))
			}
			var got []entry
			strict(t, string(b), &got)
			for _, e := range got {
				if n++; e.N != n || e.Status != 202 || e.MessageID != fmt.Sprint(n-1) || *e.Duplicate != (round == 1) || e.Seq != int64(n) {
					t.Fatalf("answer %d: %d %s", n, e.N, e.said())
				}
			}
		}
		sending.Wait()
		if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
	}
}

// FuzzStream sends a live stream whatever it likes: it must end, and every answer
// must be one.
func FuzzStream(f *testing.F) {
	f.Add(slices.Concat(frameOf(opText, small("a", "1"), true), frameOf(opClose, closeCode(1000), true)))
	f.Add(slices.Concat(frameOf(opText, `{"client_id"`, false), frameOf(opPing, "p", true), frameOf(opContinuation, `:7}`, true), frameOf(opText, "", true)))
	f.Add(slices.Concat(frameOf(opBinary, "x", true), frameOf(opText, strings.Repeat("[", 3000), true)))
	f.Add(slices.Concat(frameOf(opText, "\xff", true), []byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 'x'}))
	var faults syncBuffer
	log := slog.New(slog.NewTextHandler(&faults, &slog.HandlerOptions{Level: slog.LevelError}))
	l, err := Listen("127.0.0.1:0", 0)
	if err != nil {
		f.Fatal(err)
	}
	streams := NewStreams(0)
	srv := Server(newAPI(f, Options{Store: &instantStore{}, MaxEvent: 2000, Log: log, Streams: streams}), nil, nil)
	go srv.Serve(l)
	f.Cleanup(func() { srv.Close() })
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := connectRaw(t, l.Addr().String(), "")
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(sent) // it may end before all of it is there
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		for {
			opcode, payload, err := c.next()
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				t.Fatal("it does not end")
			case err != nil:
				if err := streams.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				streams.mu.Lock()
				defer streams.mu.Unlock()
				if streams.held != 0 {
					t.Fatalf("%d bytes are still counted", streams.held)
				}
				if s := faults.String(); s != "" {
					t.Fatal(s)
				}
				return
			case opcode == opText:
				for _, e := range c.entries(payload) {
					if e.Status < 200 || e.Status >= 500 || e.Status == 429 {
						t.Fatal(e.said())
					}
				}
			case opcode != opClose && opcode != opPong:
				t.Fatalf("opcode %d, %q", opcode, payload)
			}
		}
	})
}
