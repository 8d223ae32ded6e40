package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
)

// maxHeld bounds the bodies of all requests together, in bytes, from their first
// byte until their event is written. Past it new ones are answered 503, but for small
// ones (of firstRead), which have smallHeld beside it: a few senders of large bodies
// that never end could else keep all others out.
const (
	maxHeld   = 256 << 20
	smallHeld = 64 << 20
)

// heldBody is a request's body with two bounds: its own, and that of all bodies
// that are in memory. What was read counts until release, not what Content-Length
// promises, so that a slow sender holds no room that it doesn't use.
type heldBody struct {
	io.ReadCloser
	held  *atomic.Int64
	max   int64
	taken int64
}

// errHeld: the bodies of all requests together are too large.
var errHeld = errors.New("the request bodies in memory are at their bound")

// Read returns *http.MaxBytesError past the body's bound and errHeld past that of all.
func (b *heldBody) Read(p []byte) (int, error) {
	room := b.max - b.taken + 1 // one more, to see that there is more
	if room <= 0 {
		return 0, &http.MaxBytesError{Limit: b.max}
	}
	if int64(len(p)) > room {
		p = p[:room]
	}
	n, err := b.ReadCloser.Read(p)
	b.taken += int64(n)
	held := b.held.Add(int64(n))
	switch {
	case b.taken > b.max:
		return n, &http.MaxBytesError{Limit: b.max}
	case held > maxHeld+smallHeld, held > maxHeld && b.taken > firstRead:
		return n, errHeld
	}
	return n, err
}

// release gives the room back. It may be called again.
func (b *heldBody) release() {
	b.held.Add(-b.taken)
	b.taken, b.max = 0, -1
}

// firstRead bounds what is allocated for a body before any of it came.
const firstRead = 64 << 10

// readBody reads the whole body into buf: one event, of at most --max-event bytes,
// or, if it begins as an array does, a batch of at most --max-body. One that says
// that it is too large is refused unread.
func (g *ingestion) readBody(x *exchange, r *http.Request, buf *bytes.Buffer) error {
	if r.ContentLength > max(g.maxEvent, g.maxBody) {
		return bodyProblem(&http.MaxBytesError{Limit: g.maxEvent})
	}
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, firstRead)) + bytes.MinRead)
	}
	if r.ContentLength < 0 || r.ContentLength > g.maxEvent {
		if _, err := io.CopyN(buf, &x.body, min(g.maxEvent, 512)); err != nil && err != io.EOF {
			return bodyProblem(err)
		}
		if isArray(buf.Bytes()) {
			x.body.max = g.maxBody
		} else if r.ContentLength > g.maxEvent {
			return bodyProblem(&http.MaxBytesError{Limit: g.maxEvent})
		}
	}
	if _, err := buf.ReadFrom(&x.body); err != nil {
		return bodyProblem(err)
	}
	return nil
}

// maxUnwanted bounds what is read of a body after its refusal. It needs no memory.
const maxUnwanted = 32 << 20

// refuseBody answers a body that was not taken, and then reads what still comes of it: a
// sender that listens only after its last byte would else see a connection that was
// reset, and not why. HTTP/2 ends the stream and keeps the answer; a client that waits
// for 100 Continue sends nothing more.
//
// What came of it, in buf, is let go of first. The connection ends: where the body is
// broken, or too slow or too long, what follows would be taken for the next request.
func (g *ingestion) refuseBody(x *exchange, r *http.Request, buf *bytes.Buffer, err error) error {
	rc := http.NewResponseController(x)
	waits := r.Header.Get("Expect") != "" && x.body.taken == 0
	if r.ProtoMajor != 1 || waits || rc.EnableFullDuplex() != nil {
		return err
	}
	*buf = bytes.Buffer{}
	x.body.release()
	x.early = true
	x.Header().Set("Connection", "close")
	g.front.refuse(x, r, err)
	if rc.Flush() == nil {
		_, _ = io.CopyN(io.Discard, x.body.ReadCloser, maxUnwanted)
	}
	return nil
}

func bodyProblem(err error) *problem {
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return tooLarge.withDetail("the body may have %d bytes: send less in one request", tooBig.Limit)
	case errors.Is(err, errHeld):
		return overloaded.withDetail("nothing was stored: resend later").withCause(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return tooSlow.withDetail("the body did not arrive in time: resend").withCause(err)
	}
	return invalidRequest.withDetail("the body ended before it was complete: resend").withCause(err)
}
