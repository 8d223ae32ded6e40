package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
)

func entriesOf(t testing.TB, text string) (entries []entry) {
	t.Helper()
	if text != "" && !strings.HasSuffix(text, "\n") {
		t.Errorf("the last line is not whole: %q", text)
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if text == "" {
			break
		}
		var e entry
		strict(t, line, &e)
		if e.N != i+1 {
			t.Errorf("line %d has n %d", i+1, e.N)
		}
		entries = append(entries, e)
	}
	return entries
}

func postLinesOf(t testing.TB, h http.Handler, target, body string) []entry {
	t.Helper()
	w := request(h, "POST", target, body, "Content-Type", "application/x-ndjson")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return entriesOf(t, w.Body.String())
}

func TestLines(t *testing.T) {
	for _, query := range []string{"", "?on_error=continue"} {
		h := newAPI(t, Options{Store: mixedStore(t)})
		got := postLinesOf(t, h, "/v1/events"+query, "\n"+strings.Join(mixedBodies(), "\r\n \n")+"\n\n")
		if want := mixedTold(query != ""); said(got) != want {
			t.Errorf("%s got\n%s\nwant\n%s", query, said(got), want)
		}
	}
	for _, body := range []string{"", " \n\n"} {
		if got := postLinesOf(t, newAPI(t, Options{}), "/v1/events", body); len(got) != 0 {
			t.Errorf("no lines in %q: %+v", body, got)
		}
	}
	wantProblem(t, request(newAPI(t, Options{}), "POST", "/v1/events?on_error=no", "", "Content-Type", typeLines), 400, "invalid-request")
	wantProblem(t, request(newAPI(t, Options{}), "POST", "/v1/events", "", "Content-Type", typeLines, "Idempotency-Key", `"1"`), 400, "invalid-request")
}

// Far more lines than a group: all are answered, in order, and the rule of order
// holds from group to group.
func TestManyLines(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	var body strings.Builder
	for i := range 3 * groupItems {
		fmt.Fprintln(&body, small("a", fmt.Sprint(i)))
		if i == 10 {
			fmt.Fprintln(&body, `{"client_id":"b","message_id":"0","type":"any"}`)
		}
	}
	fmt.Fprintln(&body, small("b", "1"))
	got := postLinesOf(t, h, "/v1/events", body.String())
	if len(got) != 3*groupItems+2 {
		t.Fatalf("%d answers", len(got))
	}
	for i, e := range got {
		want := 202
		switch i {
		case 11:
			want = 400
		case len(got) - 1:
			want = 424
		}
		if e.Status != want {
			t.Errorf("line %d: %s", i+1, e.said())
		}
	}
	for i, e := range s.events {
		if e.MessageID != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, e.MessageID)
		}
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Replace(small("a", "2"), `"payload":"2"`, `"payload":"`+strings.Repeat("x", 100_000)+`"`, 1)
	exact := strings.Replace(small("a", "3"), `"payload":"3"`, `"payload":"`+strings.Repeat("x", 40_000-len(small("a", "3"))+1)+`"`, 1)
	a := Options{MaxEvent: 40_000, Streams: NewStreams(0)}
	h := newAPI(t, a)
	body := strings.Join([]string{small("a", "1"), long, exact, small("b", "1")}, "\n")
	if got, want := said(postLinesOf(t, h, "/v1/events", body)), "202 a/1 1 pending\n413 too-large\n424 not-attempted\n424 not-attempted"; got != want {
		t.Errorf("got\n%s", got)
	}
	if got, want := said(postLinesOf(t, h, "/v1/events?on_error=continue", body+"\n"+long)), "202 a/1 1 pending repeat\n413 too-large\n202 a/3 2 pending\n202 b/1 3 pending\n413 too-large"; got != want {
		t.Errorf("got\n%s", got)
	}
	if a.Streams.held != 0 || a.Streams.open != 0 {
		t.Errorf("%d bytes, %d streams are still counted", a.Streams.held, a.Streams.open)
	}
}

// What the storage has no room for waits a while, and is then said line by line.
// countedReader counts what was read of it.
type countedReader struct {
	io.Reader
	n int
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += n
	return n, err
}

// deadlines remembers the last one of a connection.
type deadlines struct {
	http.ResponseWriter
	last time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.last = t
	return nil
}

// A connection goes on behind lines that have ended. Behind those that broke off it ends:
// what follows is no request.
func TestLinesThatBreakOffEndTheConnection(t *testing.T) {
	addr := serve(t, Server(newAPI(t, Options{Streams: NewStreams(0)}), nil, nil), 0)
	line := small("a", "1") + "\n"
	chunk := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(line), line)
	for _, tt := range []struct {
		name, sent string
		last       string
		goesOn     bool
	}{
		{"their length is known", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(line), line), `"status":202`, true},
		{"in chunks", chunk + "0\r\n\r\n", `"status":202`, true},
		{"a chunk that is none", chunk + "zz\r\n", "invalid-request", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, addr)
			io.WriteString(c, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"+tt.sent)
			r := bufio.NewReader(c)
			w, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if said, err := io.ReadAll(w.Body); err != nil || !strings.Contains(string(said), tt.last) {
				t.Errorf("%v, %s", err, said)
			}
			io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n") // it may be closed by now
			if _, err := http.ReadResponse(r, nil); (err == nil) != tt.goesOn {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

// Once a body was read to its end net/http reads the connection, for the requests that
// follow: a deadline that passes would cancel the context of each of them.
func TestLinesLeaveNoDeadlineBehind(t *testing.T) {
	conn := &deadlines{}
	body := &linesBody{Reader: strings.NewReader("x"), rc: http.NewResponseController(conn)}
	body.cut()
	if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !conn.last.Before(time.Now()) {
		t.Errorf("a read after cut: %d bytes, %v, deadline %v", n, err, conn.last)
	}
	body = &linesBody{Reader: strings.NewReader("x"), rc: http.NewResponseController(conn)}
	if _, err := io.ReadAll(body); err != nil {
		t.Fatal(err)
	}
	body.cut()
	if !conn.last.IsZero() {
		t.Errorf("a deadline is left: %v", conn.last)
	}
}

func TestALineWithoutAnEnd(t *testing.T) {
	body := &countedReader{Reader: io.MultiReader(strings.NewReader(small("a", "1")+"\n"), strings.NewReader(strings.Repeat("x", 10<<20)))}
	r := httptest.NewRequest("POST", "/v1/events", body)
	r.Header.Set("Content-Type", typeLines)
	w := httptest.NewRecorder()
	newAPI(t, Options{MaxEvent: 1000, MaxBody: 1 << 20}).ServeHTTP(w, r)
	got := entriesOf(t, w.Body.String())
	if len(got) != 2 || got[0].Status != 202 || got[1].Status != 413 {
		t.Errorf("got\n%s", w.Body)
	}
	if body.n > 2<<20 {
		t.Errorf("%d bytes were read", body.n)
	}
}

func TestLinesAndAnOverload(t *testing.T) {
	overloaded := func(n int) (errs []error) {
		for range n {
			errs = append(errs, db.ErrOverloaded)
		}
		return errs
	}
	body := strings.Join([]string{small("a", "1"), small("b", "1"), small("a", "2"), "x"}, "\n")
	for _, tt := range []struct {
		err  []error
		want string
	}{
		{overloaded(5), "202 a/1 1 pending\n202 b/1 2 pending\n202 a/2 3 pending\n400 invalid-event #"},
		{overloaded(1000), "503 overloaded\n503 overloaded\n424 not-attempted\n400 invalid-event #"},
		{[]error{db.ErrClosed}, "503 shutting-down\n503 shutting-down\n424 not-attempted\n400 invalid-event #"},
		{[]error{errors.New("x")}, "500 internal\n500 internal\n424 not-attempted\n400 invalid-event #"},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			s := &fakeStore{batchErrs: tt.err}
			got := said(postLinesOf(t, newAPI(t, Options{Store: s}), "/v1/events", body))
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if took := time.Since(began); took > linesPatience+2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// lineClient sends lines over a real connection and reads answers meanwhile.
type lineClient struct {
	io.WriteCloser
	answers *bufio.Reader
	closed  func() error
}

func sendLines(t *testing.T, addr string, headers ...string) *lineClient {
	t.Helper()
	pr, pw := io.Pipe()
	r, err := http.NewRequest("POST", "http://"+addr+"/v1/events", pr)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", typeLines)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	type result struct {
		w   *http.Response
		err error
	}
	got := make(chan result, 1)
	go func() {
		w, err := transport.RoundTrip(r)
		got <- result{w, err}
	}()
	// The header comes with the first answer.
	fmt.Fprintln(pw, small("first", "1"))
	g := <-got
	if g.err != nil {
		t.Fatal(g.err)
	}
	t.Cleanup(func() { pw.Close(); g.w.Body.Close() })
	c := &lineClient{pw, bufio.NewReader(g.w.Body), g.w.Body.Close}
	if e := c.next(t); e.Status != 202 {
		t.Fatal(e.said())
	}
	return c
}

func (c *lineClient) next(t *testing.T) (e entry) {
	t.Helper()
	line, err := c.answers.ReadString('\n')
	if err != nil {
		t.Fatalf("%v after %q", err, line)
	}
	strict(t, line, &e)
	return e
}

// manyLines are more than the kernel's buffers hold, as are their answers.
const manyLines = 60_000

var longLine = strings.Repeat(" ", 400) + "x\n"

// sendAll sends lines, ends its half of the connection if it is to, and only then reads the
// answers, as Python's and Java's clients do.
func sendAll(t *testing.T, addr, target, lines string, chunked, halfClose bool) []entry {
	t.Helper()
	c := dial(t, addr)
	c.SetDeadline(time.Now().Add(time.Minute))
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(lines), lines)
	if chunked { // without the chunk that would end it
		length = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(lines), lines)
	}
	if _, err := io.WriteString(c, "POST "+target+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"+length); err != nil {
		t.Fatalf("the lines are not read: %v", err)
	}
	if halfClose {
		c.(*net.TCPConn).CloseWrite()
	}
	w, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for line := range bytes.Lines(said) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// A client that sends all before it reads gets all its answers.
func TestLinesOfASenderThatReadsLast(t *testing.T) {
	f, h := newIngestAPI(Options{Store: &fakeStore{}, Functions: testSet(t)})
	entries := sendAll(t, serve(t, Server(h, nil, nil), 0), "/v1/events", strings.Repeat(longLine, manyLines), false, false)
	if len(entries) != manyLines {
		t.Fatalf("%d answers, want %d", len(entries), manyLines)
	}
	for i, e := range entries {
		if e.N != i+1 || e.Status < 400 {
			t.Fatalf("answer %d: %d %s", i+1, e.N, e.said())
		}
	}
	if f.bodies.Load() != 0 {
		t.Errorf("%d bytes are still counted", f.bodies.Load())
	}
}

// Where there is no room for so many answers, the last line says what to do.
func TestLinesThatAreNotReadAndHaveNoRoom(t *testing.T) {
	o := Options{Store: &fakeStore{}, Functions: testSet(t)}.complete()
	f := newFront(o)
	g := newIngestion(o, f, live(o.Functions))
	g.spools = &spools{folder: filepath.Join(t.TempDir(), "none"), stall: 100 * time.Millisecond}
	r := &router{mux: http.NewServeMux(), front: f}
	g.register(r)
	entries := sendAll(t, serve(t, Server(f.handler(r.routes), nil, nil), 0), "/v1/events", strings.Repeat(longLine, manyLines), false, false)
	last := entries[len(entries)-1]
	if len(entries) >= manyLines || last.said() != "503 overloaded" || last.N != len(entries) || last.RetryAfter == 0 || !strings.Contains(last.Detail, "answers=refused") {
		t.Errorf("%d answers, the last one: %d %s %s", len(entries), last.N, last.said(), last.Detail)
	}
}

// ?answers=refused answers what was refused, and sums up.
func TestRefusedLinesOnly(t *testing.T) {
	h := newAPI(t, Options{})
	w := request(h, "POST", "/v1/events?answers=refused", small("a", "1")+"\n"+small("a", "1")+"\nx\n"+small("b", "1")+"\n", "Content-Type", typeLines)
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], `{"n":3,"status":400,`) || !strings.HasPrefix(lines[1], `{"n":4,"status":424,`) ||
		lines[2] != `{"summary":true,"lines":4,"accepted":1,"duplicates":1,"refused":2}` {
		t.Errorf("%s", w.Body)
	}
	for _, c := range []struct{ query, body, contentType string }{
		{"answers=all", "x", typeLines}, {"answers=", "x", typeLines}, {"answers=refused", goodEvent, typeJSON}, {"answers=refused", "[" + goodEvent + "]", typeJSON}, {"on_error=stop", goodEvent, typeJSON},
	} {
		wantProblem(t, request(h, "POST", "/v1/events?"+c.query, c.body, "Content-Type", c.contentType), 400, "invalid-request")
	}
}

// Half-closing behind the last line is an end like any other: what was sent is answered.
func TestLinesOfASenderThatHalfCloses(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		s := &fakeStore{batches: make(chan int)}
		addr := serve(t, Server(newAPI(t, Options{Store: s}), nil, nil), 0)
		go func() {
			time.Sleep(50 * time.Millisecond) // so that the end is seen before the lines are written
			for range s.batches {
			}
		}()
		var got []string
		for _, e := range sendAll(t, addr, "/v1/events", small("a", "1")+"\n"+small("a", "2")+"\n", chunked, true) {
			got = append(got, e.said())
		}
		if want := []string{"202 a/1 1 pending", "202 a/2 2 pending"}; !slices.Equal(got, want) {
			t.Errorf("chunked %t: %q, want %q", chunked, got, want)
		}
		close(s.batches)
	}
}

// A sender that waits for each answer gets it: nothing is held back for a group to fill.
func TestLinesAreAnsweredWhileTheyAreRead(t *testing.T) {
	c := sendLines(t, serve(t, Server(newAPI(t, Options{}), nil, nil), 0))
	for i := range 3 {
		fmt.Fprintln(c, small("a", fmt.Sprint(i)))
		if e := c.next(t); e.Status != 202 || e.N != i+2 {
			t.Errorf("%d %s", e.N, e.said())
		}
	}
	c.Close()
	if rest, err := io.ReadAll(c.answers); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestLinesAtShutdown(t *testing.T) {
	stopping, streams := make(chan struct{}), NewStreams(0)
	c := sendLines(t, serve(t, Server(newAPI(t, Options{Stopping: stopping, Streams: streams}), nil, nil), 0))
	close(stopping)
	if e := c.next(t); e.said() != "503 shutting-down" || e.N != 2 || e.RetryAfter == 0 {
		t.Errorf("%d %s", e.N, e.said())
	}
	if rest, err := io.ReadAll(c.answers); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if err := streams.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// Lines that were whole when the sender left are taken.
func TestASenderOfLinesThatLeaves(t *testing.T) {
	s, streams := &fakeStore{received: make(chan db.Event, 10)}, NewStreams(0)
	c := dial(t, serve(t, Server(newAPI(t, Options{Store: s, Streams: streams}), nil, nil), 0))
	lines := small("a", "1") + "\n" + small("a", "2") + "\n" + small("a", "3")[:20]
	fmt.Fprintf(c, "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n%s", typeLines, lines)
	for i := range 2 {
		if ev := <-s.received; ev.MessageID != fmt.Sprint(i+1) {
			t.Errorf("got %s", ev.MessageID)
		}
	}
	c.Close()
	if err := streams.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if len(s.received) > 0 {
		t.Errorf("half a line was taken: %+v", <-s.received)
	}
}

func TestASenderOfLinesThatIsSilent(t *testing.T) {
	body := &linesBody{Reader: brokenReader{os.ErrDeadlineExceeded}, rc: http.NewResponseController(&discardAnswer{})}
	g := newIngestion(Options{}.complete(), nil, live(nil))
	in := newFrameQueue(g.streams)
	g.readLines(t.Context(), body, in)
	in.end()
	var got group
	if !in.take(&got) || len(got.raws) != 1 || got.raws[0].problem == nil || got.raws[0].problem.name != "request-timeout" {
		t.Errorf("%+v", got.raws)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

func TestStreamsAreBounded(t *testing.T) {
	streams := NewStreams(1)
	addr := serve(t, Server(newAPI(t, Options{Streams: streams}), nil, nil), 0)
	c := sendLines(t, addr)
	h := newAPI(t, Options{Streams: streams})
	wantProblem(t, request(h, "POST", "/v1/events", "", "Content-Type", typeLines), 503, "overloaded")
	wantProblem(t, request(h, "GET", "/v1/stream", "", upgradeHeaders()...), 503, "overloaded")
	c.Close()
	if err := streams.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if got := postLinesOf(t, h, "/v1/events", small("a", "1")); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func upgradeHeaders(more ...string) []string {
	return append([]string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}, more...)
}

func TestTheRoomOfAllStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStreams(0)
		if !s.hold(maxStreamsHeld) || s.hold(maxStreamsHeld+1) {
			t.Error("the bounds are elsewhere")
		}
		waited := make(chan error, 1)
		go func() { waited <- s.waitRoom(t.Context()) }()
		synctest.Wait()
		s.release(maxStreamsHeld + 1)
		synctest.Wait()
		select {
		case <-waited:
			t.Error("there was no room")
		default:
		}
		s.release(1)
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte(strings.Join(mixedBodies(), "\n")))
	f.Add([]byte(nil))
	f.Add([]byte("\n\r\n" + small("a", "1") + "\r\n{}\n\xff\n" + strings.Repeat("[", 5000)))
	f.Add([]byte(small("a", "1") + "\n" + strings.Repeat("x", 3000) + "\n" + small("a", "2")))
	h := newAPI(f, Options{MaxEvent: 2000, Store: &instantStore{}})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, target := range []string{"/v1/events", "/v1/events?on_error=continue"} {
			lines := 0
			for line := range strings.SplitSeq(string(body), "\n") {
				if strings.TrimSpace(line) != "" {
					lines++
				}
			}
			got := postLinesOf(t, h, target, string(body))
			if len(got) != lines {
				t.Fatalf("%d lines, %d answers", lines, len(got))
			}
			poisoned := false
			for _, e := range got {
				if e.Status == 0 || e.Status >= 500 {
					t.Fatalf("%s", e.said())
				}
				if poisoned && e.Status != 424 {
					t.Fatalf("after a line that can't be read: %s", e.said())
				}
				poisoned = poisoned || target == "/v1/events" && e.Status == 400 && e.ClientID == ""
			}
		}
	})
}
