package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// linesIdle is how long a sender of lines may pause.
	linesIdle = 2 * time.Minute
	// linesPatience is how long a group of lines waits for the storage to have room
	// before it is refused: proxies on the way don't wait longer.
	linesPatience = 30 * time.Second
	// maxAnswers is about the length of what is written at once, in bytes: clients of
	// a WebSocket bound what they read, some at 32 KiB.
	maxAnswers = 16 << 10
)

// postLines takes NDJSON of any length: an event a line, an answer a line, in order,
// while it is read. Lines that came while the last group was written are the next
// one, so nobody waits for a group to fill. Empty lines are no events. n counts the
// others from 1.
//
// The status is 200 before anything is known of most lines, so whatever ends the
// reading (a time-out, shutdown, a body that is cut) is the answer of the line that
// did not come.
func (g *ingestion) postLines(x *exchange, r *http.Request, tok *token) error {
	if err := noIdempotencyKey(r.Header); err != nil {
		return err
	}
	t, err := g.newIngester(x, r, tok)
	if err != nil {
		return err
	}
	t.patience = linesPatience
	if err := g.streams.enter(); err != nil {
		return err
	}
	defer g.streams.leave()

	rc := http.NewResponseController(x)
	_ = rc.EnableFullDuplex() // HTTP/2 needs none
	in := newFrameQueue(g.streams)
	body := &patientBody{Reader: x.body.ReadCloser, rc: rc}
	handled, read, watched := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		defer in.end()
		g.readLines(r.Context(), body, in)
	}()
	go func() {
		defer close(watched)
		select {
		case <-g.stopping:
		case <-handled:
		case <-read:
			return
		}
		body.cut()
	}()
	defer func() { // net/http must not have the body back before its reader has ended
		in.stop()
		close(handled)
		<-watched
		<-read
	}()

	out := lineWriter{x: x, rc: rc, body: body, old: r.ProtoMajor == 1}
	n := 0
	for g := new(group); in.take(g); {
		// A token that was taken back is good for no further line.
		tok, denied := t.authorize(x, r, scopeIngest)
		if t.token = tok; denied != nil {
			for i := range g.raws {
				g.raws[i].problem = asProblem(denied)
			}
		}
		items := t.items(g)
		answers, err := t.take(r.Context(), items)
		if err != nil {
			t.refuseOpen(items, answers, err)
			t.patience = 0
		}
		t.count(x, answers)
		results := 0
		for i := range answers {
			n++
			if err := out.line(n, &answers[i], fits(&results, &answers[i])); err != nil {
				return nil // the client is gone; it resends
			}
		}
		if err := out.flush(); err != nil {
			return nil
		}
	}
	return out.end()
}

// items decodes a group.
func (t *ingester) items(g *group) []item {
	items := make([]item, 0, len(g.raws))
	g.each(func(body []byte, p *problem) {
		if p != nil {
			items = append(items, item{problem: p, unread: p.kind != tooLarge})
			return
		}
		items = append(items, t.item(body))
	})
	return items
}

// readLines puts each line of body, until it ends.
func (g *ingestion) readLines(ctx context.Context, body *patientBody, in *frameQueue) {
	lines := bufio.NewReaderSize(body, 32<<10)
	for {
		line, err := g.readLine(lines)
		line = bytes.TrimRight(line, "\r\n")
		var p *problem
		switch {
		case err != nil && err != io.EOF:
			p = g.linesProblem(err)
		case int64(len(line)) > g.maxEvent:
			p = tooLarge.withDetail("an event may have %d bytes: send less in one line", g.maxEvent)
		}
		if p != nil {
			line = nil
		}
		if p != nil || len(bytes.TrimSpace(line)) > 0 {
			if in.put(ctx, line, p) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// errEndless: a line went on past what a whole batch may have.
var errEndless = errors.New("the line does not end")

// readLine returns the next line, valid until the next call. Of one that is too long
// it keeps enough to see that, and it gives up one that is longer than --max-body.
func (g *ingestion) readLine(lines *bufio.Reader) ([]byte, error) {
	line, err := lines.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	var long []byte
	defer func() { g.streams.release(len(long)) }()
	for total := int64(0); ; {
		if total += int64(len(line)); total > g.maxBody {
			return nil, errEndless
		}
		if int64(len(long)) <= g.maxEvent {
			long = append(long, line...)
			if !g.streams.hold(len(line)) {
				return nil, errHeld
			}
		}
		if err != bufio.ErrBufferFull {
			return long, err
		}
		line, err = lines.ReadSlice('\n')
	}
}

func (g *ingestion) linesProblem(err error) *problem {
	switch {
	case stopped(g.stopping):
		return shuttingDown.withDetail("this line and those after it were not read: resend them in a moment")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return tooSlow.withDetail("nothing came for too long: resend what was not answered")
	case errors.Is(err, errEndless):
		return tooLarge.withDetail("an event may have %d bytes: this line went on, and nothing after it was read", g.maxEvent)
	}
	return bodyProblem(err)
}

// patientBody gives each read the time of a pause, in place of the server's time for
// the whole body.
type patientBody struct {
	io.Reader
	rc *http.ResponseController

	mu    sync.Mutex
	over  bool // cut was called
	ended bool // the body was read to its end
}

func (b *patientBody) Read(p []byte) (int, error) {
	if !b.patient() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.end()
	}
	return n, err
}

// patient gives the next read its time, if there is to be one.
func (b *patientBody) patient() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	_ = b.rc.SetReadDeadline(time.Now().Add(linesIdle)) // where there are none, there is no time-out either
	return true
}

// end leaves the connection to net/http, which now reads it to see whether the client
// leaves. A deadline of ours would look like that, and net/http would cancel the
// context of every later request on the connection.
func (b *patientBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	_ = b.rc.SetReadDeadline(time.Time{})
}

// whole reports whether the body was read to its end.
func (b *patientBody) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// cut ends the Read that waits and all that follow.
func (b *patientBody) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	if !b.ended {
		_ = b.rc.SetReadDeadline(time.Unix(1, 0))
	}
}

// lineWriter writes answers in chunks. The header goes out with the first one: a
// client that asked whether to continue (Expect) is answered by reading.
//
// With HTTP/1 the connection ends with a body that was not read to its end when the
// first answer goes out: it may break off, and what follows would be taken for the next
// request.
type lineWriter struct {
	x    *exchange
	rc   *http.ResponseController
	body *patientBody
	old  bool // HTTP/1
	buf  []byte
}

var linesType = []string{typeLines}

func (w *lineWriter) begin() {
	if w.x.status != 0 {
		return
	}
	h := w.x.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = linesType, noStore, noSniff
	if w.old && !w.body.whole() {
		h.Set("Connection", "close")
	}
	w.x.WriteHeader(http.StatusOK)
}

func (w *lineWriter) line(n int, a *answer, withResult bool) error {
	w.buf = append(appendAnswer(w.buf, n, a, withResult), '\n')
	if len(w.buf) < maxAnswers {
		return nil
	}
	return w.write()
}

func (w *lineWriter) write() error {
	w.begin()
	_ = w.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := w.x.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *lineWriter) flush() error {
	if err := w.write(); err != nil {
		return err
	}
	if err := w.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// end answers also where there was no line.
func (w *lineWriter) end() error {
	w.begin()
	return nil
}
