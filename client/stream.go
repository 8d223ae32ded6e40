package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Stream is events that are sent over a WebSocket, many before the first is answered.
type Stream struct {
	// Next returns the next event, or false where there is none any more. It should return when ctx ends.
	Next func(ctx context.Context) (Event, bool)
	// Answered is called once for each event that Next gave, with its receipt or a problem
	// that is final. Calls don't overlap. Answers of an account come in the order of its events.
	Answered func(ev Event, r Receipt, p *Problem)
	// Continue has the events of an account sent on after one of it was refused. Without it
	// those that follow are answered by a problem that is NotAttempted.
	Continue bool
}

// Bounds of what is sent and not answered.
const (
	windowEvents = 4096
	windowBytes  = 16 << 20
	dialTimeout  = 30 * time.Second
	// maxAnswers is the longest message that is read, in bytes.
	maxAnswers = 64 << 20
)

// Stream sends until every event is answered, over as many connections as it takes: what
// was not answered when one broke is sent again, in order, over the next. Errors are those
// of Post, also a *Problem where the server takes nothing from this sender, such as
// 401. Events that were not answered then may have been taken, and can be sent again.
func (c *Client) Stream(ctx context.Context, s Stream) error {
	st := &stream{Stream: s, client: c, refused: map[string]struct{}{}, room: make(chan struct{}, 1)}
	var b backoff
	for {
		before := st.answered()
		err := st.connect(ctx)
		lasting, ok := errors.AsType[*lastingError](err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ok:
			return lasting.error
		}
		if st.answered() > before {
			b = backoff{}
		}
		if err := c.wait(ctx, &b, err); err != nil {
			return err
		}
	}
}

// lastingError is what does not change by connecting again.
type lastingError struct{ error }

func (e *lastingError) Unwrap() error { return e.error }

// stream is a Stream under way.
type stream struct {
	Stream
	client *Client

	calls sync.Mutex // held while Answered is called

	mu      sync.Mutex
	waiting []Event // sent, or to be sent again; the oldest first
	bytes   int     // of waiting
	ended   bool    // Next has no more
	count   int64   // answered
	refused map[string]struct{}
	room    chan struct{}
}

func (s *stream) answered() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// connect uses one connection until everything is answered (nil) or it breaks.
func (s *stream) connect(ctx context.Context) error {
	address := s.client.base + "/v1/stream"
	if s.Continue {
		address += "?on_error=continue"
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, resp, err := websocket.Dial(dialing, address, &websocket.DialOptions{HTTPClient: s.client.http, HTTPHeader: s.client.header()})
	if err != nil {
		return dialError(resp, err)
	}
	conn.SetReadLimit(maxAnswers)
	ctx, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer conn.CloseNow()
	defer stop()
	writing.Go(func() {
		if s.write(ctx, conn) != nil {
			conn.CloseNow() // the reader then says why
		}
	})
	return s.read(ctx, conn)
}

// dialError is why there is no connection; lasting where another try can't end otherwise.
func dialError(resp *http.Response, err error) error {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return &lastingError{err}
	}
	if resp != nil && resp.StatusCode >= 400 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10)) // the library has read it
		refusal := readProblem(resp, text)
		if final(refusal) {
			return &lastingError{refusal}
		}
		return refusal
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		return asked // without the library's own words
	}
	return err
}

// write sends what was not answered, then what is new, as far as there is room.
func (s *stream) write(ctx context.Context, conn *websocket.Conn) error {
	for _, ev := range s.resend() {
		if err := conn.Write(ctx, websocket.MessageText, ev.Body); err != nil {
			return err
		}
	}
	for {
		for s.full() {
			select {
			case <-s.room:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ev, ok := s.Next(ctx)
		if ctx.Err() != nil && !ok {
			return ctx.Err()
		}
		if !ok {
			if s.end() {
				return conn.Close(websocket.StatusNormalClosure, "")
			}
			return nil
		}
		body, p := ev.body()
		if p == nil {
			p = s.push(ev)
		}
		if p != nil {
			s.refuse(ev, p)
			continue
		}
		if err := conn.Write(ctx, websocket.MessageText, body); err != nil {
			return err
		}
	}
}

// refuse answers an event that is not sent.
func (s *stream) refuse(ev Event, p *Problem) {
	s.mu.Lock()
	s.settled(&ev, p)
	s.mu.Unlock()
	s.answer(ev, Receipt{}, p)
}

// settled counts an answer, and remembers an account that had one refused. s.mu is held.
func (s *stream) settled(ev *Event, p *Problem) {
	s.count++
	if p != nil && !s.Continue {
		s.refused[ev.ClientID] = struct{}{}
	}
}

// answer calls Answered.
func (s *stream) answer(ev Event, r Receipt, p *Problem) {
	s.calls.Lock()
	defer s.calls.Unlock()
	s.Answered(ev, r, p)
}

// resend returns what has to be sent again. What waits behind a refused event of its
// account is answered: on the new connection the server doesn't know of that.
func (s *stream) resend() []Event {
	s.mu.Lock()
	var kept, held []Event
	s.bytes = 0
	for _, ev := range s.waiting {
		if _, behind := s.refused[ev.ClientID]; behind {
			held = append(held, ev)
			continue
		}
		kept = append(kept, ev)
		s.bytes += len(ev.Body)
	}
	s.waiting = slices.Clone(kept)
	s.mu.Unlock()
	for _, ev := range held {
		s.refuse(ev, notAttempted())
	}
	return kept
}

func (s *stream) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) >= windowEvents || s.bytes >= windowBytes
}

// push notes an event that is about to be sent, or returns why it must not be: an earlier
// one of its account was refused.
func (s *stream) push(ev Event) *Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, held := s.refused[ev.ClientID]; held {
		return notAttempted()
	}
	s.waiting = append(s.waiting, ev)
	s.bytes += len(ev.Body)
	return nil
}

// end notes that there are no more events, and reports whether all are answered.
func (s *stream) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return len(s.waiting) == 0
}

func (s *stream) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended && len(s.waiting) == 0
}

// oldest returns the event that the next answer is for.
func (s *stream) oldest() (Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return Event{}, false
	}
	return s.waiting[0], true
}

// read takes the answers, which come in the order of the frames.
func (s *stream) read(ctx context.Context, conn *websocket.Conn) error {
	for n := int64(1); ; {
		_, text, err := conn.Read(ctx)
		if err != nil {
			if s.over() {
				return nil
			}
			return s.closed(err)
		}
		answers, err := readAnswers(text)
		if err != nil {
			return &lastingError{err}
		}
		for i := range answers {
			if err := s.take(&answers[i], n); err != nil {
				return err
			}
			n++
		}
		if s.over() {
			return conn.Close(websocket.StatusNormalClosure, "")
		}
	}
}

// closed is why a connection ended. The oldest event is what the server could not read.
func (s *stream) closed(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusPolicyViolation, websocket.StatusMessageTooBig, websocket.StatusUnsupportedData, websocket.StatusInvalidFramePayloadData:
		ev, _ := s.oldest()
		return &lastingError{&ClosedError{Event: ev, err: err}}
	}
	return err
}

// ClosedError says that the server ended a stream for what it was sent, such as a frame
// that is too long, or because the token is no longer good.
type ClosedError struct {
	Event Event // the oldest that is not answered
	err   error
}

// Error returns the server's reason.
func (e *ClosedError) Error() string { return e.err.Error() }

// Unwrap returns the error of the connection.
func (e *ClosedError) Unwrap() error { return e.err }

// take notes the n-th answer of a connection.
func (s *stream) take(a *answer, n int64) error {
	ev, r, p, err := s.pop(a, n)
	if err != nil {
		return err
	}
	select {
	case s.room <- struct{}{}:
	default:
	}
	s.answer(ev, r, p)
	return nil
}

// pop returns the oldest event with the n-th answer of a connection, which is for it. An
// error leaves it where it is.
func (s *stream) pop(a *answer, n int64) (ev Event, r Receipt, p *Problem, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) > 0 {
		ev = s.waiting[0]
	}
	if len(s.waiting) == 0 || a.N != n || a.MessageID != "" && a.MessageID != ev.MessageID {
		return ev, r, p, &lastingError{fmt.Errorf("answer %d (n %d, message_id %.100q) is not for the frame that was sent", n, a.N, a.MessageID)}
	}
	r, p = a.of(&ev)
	switch {
	case p == nil:
	case p.Status == http.StatusUnauthorized:
		return ev, r, p, &lastingError{p}
	case p.Temporary():
		return ev, r, p, p // not taken: connect again, and send it and what follows again
	}
	s.bytes -= len(ev.Body)
	s.waiting[0] = Event{}
	s.waiting = s.waiting[1:]
	s.settled(&ev, p)
	return ev, r, p, nil
}
