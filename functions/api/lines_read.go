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

// linesIdle is how long a sender of lines may pause, and how long it may leave its answers
// unread once it sends nothing more.
const linesIdle = 2 * time.Minute

// readLines puts each line of body, until it ends.
func (g *ingestion) readLines(ctx context.Context, body *linesBody, in *frameQueue) {
	lines := bufio.NewReaderSize(body, 32<<10)
	for {
		line, err := g.readLine(lines)
		line = bytes.TrimRight(line, "\r\n")
		var p *problem
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF) && len(line) == 0: // half-closed behind a whole line
			return
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

// linesBody gives each read the time of a pause, in place of the server's time for the
// whole body. While it is read, the answers may wait for their reader: the client sends.
type linesBody struct {
	io.Reader
	rc *http.ResponseController

	mu    sync.Mutex
	over  bool // cut was called
	ended bool // the body was read to its end
	write time.Time
}

func (b *linesBody) Read(p []byte) (int, error) {
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
func (b *linesBody) patient() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	now := time.Now()
	_ = b.rc.SetReadDeadline(now.Add(linesIdle)) // where there are none, there is no time-out either
	b.extendWrite(now)
	return true
}

// extendWrite gives a write that waits for its reader more time.
func (b *linesBody) extendWrite(now time.Time) {
	if now.Sub(b.write) >= time.Second { // each read would cost HTTP/2 a message
		_ = b.rc.SetWriteDeadline(now.Add(linesIdle))
		b.write = now
	}
}

// wrote is called after each write of answers.
func (b *linesBody) wrote() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.extendWrite(time.Now())
}

// end leaves the connection to net/http, which now reads it to see whether the client
// leaves. A deadline of ours would look like that, and net/http would cancel the
// context of every later request on the connection.
func (b *linesBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	_ = b.rc.SetReadDeadline(time.Time{})
}

// whole reports whether the body was read to its end.
func (b *linesBody) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// cut ends the Read that waits and all that follow.
func (b *linesBody) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	if !b.ended {
		_ = b.rc.SetReadDeadline(time.Unix(1, 0))
	}
}
