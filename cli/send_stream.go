package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	jsonv2 "github.com/go-json-experiment/json"
)

// streamSender sends events over one WebSocket, many before the first is answered.
// After a broken connection it sends again, in order, what was not answered.
type streamSender struct {
	send   Send
	client Client
	tally  *tally
	items  <-chan item

	mu      sync.Mutex
	waiting []item // sent, or to be sent again; the oldest first
	bytes   int    // of waiting
	ended   bool   // items has no more
	room    chan struct{}
}

// Bounds of what is sent and not answered.
const (
	windowItems = 4096
	windowBytes = 16 << 20
	maxBackoff  = 5 * time.Second
)

// frame is an answer: a receipt, or a problem.
type frame struct {
	N         int64  `json:"n"`
	MessageID string `json:"message_id"`
	Duplicate bool   `json:"duplicate"`
	Type      string `json:"type"` // of a problem
	Status    int    `json:"status"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
}

func (f *frame) problem() bool { return strings.HasPrefix(f.Type, "urn:inturn:problem:") }

// errStream is what won't change by connecting again.
type errStream struct{ err error }

func (e *errStream) Error() string { return e.err.Error() }
func (e *errStream) Unwrap() error { return e.err }

func (s *streamSender) run(ctx context.Context) error {
	s.room = make(chan struct{}, 1)
	client, err := s.client.HTTP()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	backoff := retryAfter
	for {
		before := s.answers()
		err := s.connect(ctx, client)
		final, ok := errors.AsType[*errStream](err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ok:
			return final
		}
		if s.answers() > before {
			backoff = retryAfter
		}
		if s.tally.trouble(err) > s.send.Patience {
			return fmt.Errorf("nothing was taken for %v: %w", s.send.Patience, err)
		}
		if err := sleep(ctx, backoff); err != nil {
			return context.Cause(ctx)
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (s *streamSender) answers() int {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	return s.tally.Accepted + s.tally.Duplicates + s.tally.Refused + s.tally.NotSent
}

// connect uses one connection until everything is answered (nil) or it breaks.
func (s *streamSender) connect(ctx context.Context, client *http.Client) error {
	address := s.client.URL + "/v1/stream"
	if s.send.Continue {
		address += "?on_error=continue"
	}
	dialing, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, resp, err := websocket.Dial(dialing, address, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
			return &errStream{err}
		}
		if resp != nil && isPlain(resp) {
			return &errStream{errPlain}
		}
		if resp != nil && resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
			return &errStream{problem(resp)}
		}
		if asked, ok := errors.AsType[*url.Error](err); ok {
			err = asked // without the library's own words
		}
		return err
	}
	conn.SetReadLimit(maxLine)
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

// write sends what was not answered, then what is new, as far as there is room.
func (s *streamSender) write(ctx context.Context, conn *websocket.Conn) error {
	for _, it := range s.resend() {
		if err := conn.Write(ctx, websocket.MessageText, it.body); err != nil {
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
		select {
		case it, ok := <-s.items:
			switch {
			case !ok:
				if s.end() {
					return conn.Close(websocket.StatusNormalClosure, "")
				}
				return nil
			case s.tally.skip(it):
			default:
				s.push(it)
				if err := conn.Write(ctx, websocket.MessageText, it.body); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// resend returns what has to be sent again. What waits behind a refused event of its
// client_id goes: on the new connection the server doesn't know of that.
func (s *streamSender) resend() []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.waiting[:0]
	for _, it := range s.waiting {
		if s.tally.skip(it) {
			s.bytes -= len(it.body)
			continue
		}
		kept = append(kept, it)
	}
	s.waiting = kept
	return append([]item(nil), kept...)
}

func (s *streamSender) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) >= windowItems || s.bytes >= windowBytes
}

func (s *streamSender) push(it item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, it)
	s.bytes += len(it.body)
}

// end notes that there are no more items, and reports whether all are answered.
func (s *streamSender) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return len(s.waiting) == 0
}

func (s *streamSender) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended && len(s.waiting) == 0
}

// oldest returns the event that the next answer is for.
func (s *streamSender) oldest() (item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return item{}, false
	}
	return s.waiting[0], true
}

func (s *streamSender) pop() {
	s.mu.Lock()
	s.bytes -= len(s.waiting[0].body)
	s.waiting[0] = item{}
	s.waiting = s.waiting[1:]
	s.mu.Unlock()
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// read takes the answers, which come in the order of the frames.
func (s *streamSender) read(ctx context.Context, conn *websocket.Conn) error {
	for n := int64(1); ; {
		_, text, err := conn.Read(ctx)
		if err != nil {
			if s.over() {
				return nil
			}
			switch websocket.CloseStatus(err) {
			case websocket.StatusPolicyViolation, websocket.StatusMessageTooBig, websocket.StatusUnsupportedData, websocket.StatusInvalidFramePayloadData:
				it, _ := s.oldest() // all before it are answered
				return &errStream{fmt.Errorf("line %d: %w", it.line, err)}
			}
			return err
		}
		frames, err := parseFrames(text)
		if err != nil {
			return &errStream{err}
		}
		for i := range frames {
			if err := s.take(&frames[i], n); err != nil {
				return err
			}
			n++
		}
		if s.over() {
			return conn.Close(websocket.StatusNormalClosure, "")
		}
	}
}

func parseFrames(text []byte) (frames []frame, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		err = jsonv2.Unmarshal(text, &frames)
	} else {
		frames = make([]frame, 1)
		err = jsonv2.Unmarshal(text, &frames[0])
	}
	if err != nil {
		return nil, fmt.Errorf("an answer can't be read: %w", err)
	}
	return frames, nil
}

// take notes the n-th answer of a connection.
func (s *streamSender) take(f *frame, n int64) error {
	it, ok := s.oldest()
	if !ok || f.N != n || f.MessageID != "" && f.MessageID != it.messageID {
		return &errStream{fmt.Errorf("answer %d (n %d, message_id %.100q) is not for the frame that was sent", n, f.N, f.MessageID)}
	}
	switch {
	case !f.problem():
		s.tally.taken(f.Duplicate)
	case f.Status == http.StatusFailedDependency:
		s.tally.notAttempted()
	case f.Status == http.StatusUnauthorized:
		return &errStream{f.err()}
	case f.Status == http.StatusTooManyRequests || f.Status >= 500:
		return f.err() // not taken: connect again, and send it and what follows again
	default:
		s.tally.refused(it, f.err().Error())
	}
	s.pop()
	return nil
}

func (f *frame) err() error {
	return fmt.Errorf("%d: %s: %s", f.Status, f.Title, f.Detail)
}
