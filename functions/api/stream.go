package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"inturn/db"

	"github.com/coder/websocket"
)

// Times of a stream. A sender that is silent is asked for a sign of life; where
// nothing at all came for streamSilence its connection is dead.
const (
	streamPing    = 30 * time.Second
	streamSilence = 90 * time.Second
	// streamWrite is how long a sender may leave its answers unread.
	streamWrite = 2 * time.Minute
	// frameTime is how long one frame may take to come, from its first byte.
	frameTime = requestTimeout
	streamEnd = 3 * time.Second // for the closing handshake
)

// stream is GET /v1/stream, a WebSocket: one event a text frame in, an answer for
// each out, in order, once it is durable,
//
//	{"n": 1, "status": 202, "client_id": …, "message_id": …, "seq": …, …}
//
// n is the frame's number on this connection; blank frames, which are no events, are not
// counted. What was made durable together is
// answered together, as an array in place of one object. Frames that come while a
// group is written are the next group, so a sender need not wait for answers.
//
// It never answers that it is too busy. It stops reading until there is room, in the
// storage and in the account: the sender feels that, and nothing overtakes. It also
// stops reading while its answers are not read.
//
// It ends with 1000 after the sender's close, whose frames are all answered first;
// 1001 on shutdown, after answering what was read; 1003 for a binary frame; 1007
// for one that is not UTF-8; 1008 when the token is no longer good; 1009 for one
// that is too long; 1011 and 1013 where the storage or memory gives out. What was not
// answered then may or may not be stored: sending all of it again is safe.
func (g *ingestion) stream(x *exchange, r *http.Request) error {
	tok, err := g.authorize(x, r, scopeIngest)
	if err != nil {
		return err
	}
	if stopped(g.stopping) {
		return shuttingDown.withDetail("connect again in a moment")
	}
	if err := checkOptions(x.query, plainForm); err != nil {
		return err
	}
	t := g.newIngester(x, r, tok)
	t.patience = forever
	if err := g.streams.enter(); err != nil {
		return err
	}
	defer g.streams.leave()

	in := newFrameQueue(g.streams)
	conn, wire, err := upgrade(x, r, in.idle)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(ctx, in.stop)()

	s := &streamer{ingester: t, x: x, r: r, conn: conn, in: in}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer in.end()
		if s.reading = s.read(ctx); gone(s.reading) {
			cancel()
		}
	}()
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		s.ping(ctx)
		cancel()
	}()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-g.stopping:
			in.end()
		case <-ctx.Done():
		}
	}()

	end := s.answer(ctx)
	in.stop() // the reader reads on only to find the sender's close
	if end == nil {
		select {
		case <-read:
			end = s.reading
		case <-g.stopping:
			end = goingAway
		}
	}
	if errors.Is(end, errStopped) { // the reader was in the middle of it
		end = goingAway
	}
	if c, ok := errors.AsType[closing](end); ok {
		wire.finish()
		_ = conn.Close(c.code, c.reason)
	}
	_ = conn.CloseNow()
	cancel()
	<-read
	<-pinged
	<-stopped
	return nil
}

// streamer is one connection. read runs on one goroutine, answer on another. Neither
// gives the library a context, which costs a goroutine's worth of work a frame: what
// waits has a deadline of the connection's, and ends with CloseNow.
type streamer struct {
	*ingester
	x       *exchange
	r       *http.Request
	conn    *websocket.Conn
	in      *frameQueue
	reading error // why read ended
}

// closing is how a stream ends by us.
type closing struct {
	code   websocket.StatusCode
	reason string // at most 123 bytes
}

func (c closing) Error() string { return c.reason }

var goingAway = closing{websocket.StatusGoingAway, "the server is shutting down: connect again and resend what was not answered"}

// gone reports whether reading ended in a way after which the client doesn't wait for
// answers. A client that closed, or ended only its half of the connection, does wait.
func gone(err error) bool {
	_, ours := errors.AsType[closing](err)
	return !ours && websocket.CloseStatus(err) == -1 && !errors.Is(err, io.EOF) && !errors.Is(err, errStopped)
}

// read puts each frame until there will be no more. Where that is the sender's
// mistake, it says how the connection is to be closed after the answers.
func (s *streamer) read(ctx context.Context) error {
	frame := make([]byte, 0, 512)
	for {
		kind, body, err := s.conn.Reader(context.Background())
		if err != nil {
			return err // closed by the sender, or gone
		}
		if kind != websocket.MessageText {
			return closing{websocket.StatusUnsupportedData, "send each event as a text frame"}
		}
		if frame, err = s.frame(body, frame[:0]); err != nil {
			return err
		}
		if !utf8.Valid(frame) {
			return closing{websocket.StatusInvalidFramePayloadData, "a text frame must be UTF-8"}
		}
		if len(bytes.TrimSpace(frame)) > 0 {
			if err := s.in.put(ctx, frame, nil); err != nil {
				return err
			}
		}
		if cap(frame) > firstRead {
			frame = make([]byte, 0, 512)
		}
	}
}

// frame reads one frame into buf, which may grow to --max-event.
func (s *streamer) frame(body io.Reader, buf []byte) ([]byte, error) {
	late := time.AfterFunc(frameTime, func() { s.conn.CloseNow() })
	defer late.Stop()
	held := 0
	defer func() { s.streams.release(held) }()
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		held += n
		switch room := s.streams.hold(n); {
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return buf, err
		case int64(len(buf)) > s.maxEvent:
			return buf, closing{websocket.StatusMessageTooBig, "this frame is longer than an event may be"}
		case !room:
			return buf, closing{websocket.StatusTryAgainLater, "too much is coming in: connect again in a moment"}
		}
	}
}

// answer answers group after group until there are no more. It returns nil when
// everything that was read is answered, else why the rest is not.
func (s *streamer) answer(ctx context.Context) error {
	n := 0
	for g := new(group); s.in.take(g); {
		// A token that was taken back is good for no further event.
		tok, err := s.authorize(s.x, s.r, scopeIngest)
		if err != nil {
			return closing{websocket.StatusPolicyViolation, "the token is no longer good for this"}
		}
		s.token = tok
		answers, err := s.take(ctx, s.items(g))
		answered := 0
		for answered < len(answers) && !answers[answered].open {
			answered++
		}
		if s.x.hold(sizeOfAnswers(answers)) != nil {
			return closing{websocket.StatusTryAgainLater, "too many answers are waiting to be read: read them, connect again and resend what was not answered"}
		}
		if werr := s.write(ctx, n, answers[:answered]); werr != nil {
			return werr
		}
		n += answered
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, db.ErrClosed):
			s.x.problem = asProblem(err)
			return closing{websocket.StatusInternalError, "the storage is not available: connect again and resend what was not answered"}
		case answered < len(answers):
			return goingAway
		}
	}
	return nil
}

// write sends the answers of a group, in frames of about maxAnswers bytes.
func (s *streamer) write(ctx context.Context, before int, answers []answer) error {
	buf := make([]byte, 0, min(maxAnswers+1024, 256*len(answers)))
	results := 0
	for i := 0; i < len(answers); {
		first, held := i, 0
		buf = append(buf[:0], '[')
		for ; i < len(answers) && len(buf) < maxAnswers; i++ {
			if i > first {
				buf = append(buf, ',')
			}
			held += s.complete(ctx, &answers[i], &results)
			s.count(s.x, &answers[i])
			buf = appendAnswer(buf, before+i+1, &answers[i])
			answers[i] = answer{}
		}
		frame := buf[1:] // one answer stands alone
		if i-first > 1 {
			buf = append(buf, ']')
			frame = buf
		}
		err := s.conn.Write(context.Background(), websocket.MessageText, frame)
		s.x.answers.release(held)
		if err != nil {
			return err
		}
		if cap(buf) > 2*maxAnswers {
			buf = nil // a large result is not kept
		}
	}
	return nil
}

// ping asks for signs of life until ctx ends or the connection fails. Whether one came
// is seen by the connection's read deadline; but while nothing is read, because there
// is no room, only a write can show that the sender is gone.
func (s *streamer) ping(ctx context.Context) {
	tick := time.NewTicker(streamPing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		limited, cancel := context.WithTimeout(ctx, streamWrite)
		err := s.conn.Ping(limited)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return
		}
	}
}
