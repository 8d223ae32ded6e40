package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// The load test speaks HTTP/1.1 (RFC 9112) itself: it shares its machine with the
// server that it measures, and an http.Request for each message would cost more
// than the server's work for it.

// answer is what a shot got. Each is written by one connection's reader.
type answer struct {
	micros uint32 // from when the request was due to when its answer was read
	status uint16 // 0: none came
	repeat bool   // the receipt says duplicate
	seq    int64  // of the receipt
}

const (
	pipelined = 16 // requests of a connection that are sent before the first is answered
	// A connection that broke is opened again after this; meanwhile its requests are late.
	redialAfter = 100 * time.Millisecond
	wireBuffer  = 4 << 10
	maxAnswer   = 1 << 20
)

// wire is one connection and what is to go over it.
type wire struct {
	lt     *loadRun
	mu     sync.Mutex
	change sync.Cond
	queue  []int32 // due, not sent
	sent   []int32 // not answered
	closed bool    // nothing more comes
	broken error   // the connection can't be used
}

// push queues a shot that is due.
func (w *wire) push(i int32) {
	w.mu.Lock()
	w.queue = append(w.queue, i)
	w.mu.Unlock()
	w.change.Signal()
}

func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.change.Signal()
}

// run sends until all is answered or ctx ends. What was sent over a connection that
// broke is not sent again: it has no answer, and that is counted.
func (w *wire) run(ctx context.Context, conn net.Conn) {
	for {
		if conn != nil && w.session(ctx, conn) == nil {
			return
		}
		w.mu.Lock()
		w.lt.lost(len(w.sent))
		w.sent, w.broken = w.sent[:0], nil
		over := w.closed && len(w.queue) == 0
		w.mu.Unlock()
		if over || sleep(ctx, redialAfter) != nil {
			return
		}
		conn, _ = w.lt.dial(ctx) // nil: tried again
	}
}

// session uses one connection until all is answered (nil) or it breaks.
func (w *wire) session(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { w.fail(ctx.Err()); conn.Close() })
	defer stop()
	var reading sync.WaitGroup
	reading.Go(func() { w.fail(w.read(bufio.NewReaderSize(conn, wireBuffer))) })
	defer reading.Wait()
	defer conn.Close()
	var buf []byte
	for {
		var err error
		if buf, err = w.take(buf[:0]); err != nil || len(buf) == 0 {
			return err
		}
		if _, err := conn.Write(buf); err != nil {
			return err
		}
	}
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	if w.broken == nil {
		w.broken = err
	}
	w.mu.Unlock()
	w.change.Signal()
}

// take waits for requests that may be sent and appends each to buf. An empty result
// means that all is answered.
func (w *wire) take(buf []byte) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.broken != nil:
			return nil, w.broken
		case w.closed && len(w.queue) == 0 && len(w.sent) == 0:
			return nil, nil
		case len(w.queue) > 0 && len(w.sent) < pipelined:
			n := min(len(w.queue), pipelined-len(w.sent))
			for _, i := range w.queue[:n] {
				buf = w.lt.appendRequest(buf, i)
			}
			w.sent = append(w.sent, w.queue[:n]...)
			w.queue = append(w.queue[:0], w.queue[n:]...)
			return buf, nil
		}
		w.change.Wait()
	}
}

// read notes answers, which come in the order of the requests.
func (w *wire) read(r *bufio.Reader) error {
	for {
		status, body, last, err := readAnswer(r)
		if err != nil {
			return err
		}
		now := time.Now()
		w.mu.Lock()
		if len(w.sent) == 0 {
			w.mu.Unlock()
			return errors.New("an answer came without a request")
		}
		i := w.sent[0]
		w.sent = append(w.sent[:0], w.sent[1:]...)
		w.mu.Unlock()
		w.change.Signal()
		w.lt.answered(i, now, status, body)
		if last {
			return io.EOF
		}
	}
}

var errAnswer = errors.New("the answer is not HTTP/1.1 as this tester reads it")

// readAnswer reads one response with a Content-Length. The body is valid until the
// next read. last says that the server will close the connection.
func readAnswer(r *bufio.Reader) (status int, body []byte, last bool, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, nil, false, err
	}
	// "HTTP/1.1 202 Accepted"
	if len(line) < 13 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return 0, nil, false, errAnswer
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil || status < 200 {
		return 0, nil, false, errAnswer
	}
	length := -1
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, nil, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 || length > maxAnswer {
				return 0, nil, false, errAnswer
			}
		case bytes.EqualFold(name, []byte("Connection")):
			last = bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
	switch {
	case length < 0:
		return 0, nil, false, fmt.Errorf("%w: it has no Content-Length", errAnswer)
	case length <= r.Size():
		if body, err = r.Peek(length); err == nil {
			_, err = r.Discard(length)
		}
	default:
		body = make([]byte, length)
		_, err = io.ReadFull(r, body)
	}
	return status, body, last, err
}

// receipt reads what the tester needs of one. Quotes in an id are escaped, and only a
// repeat's receipt has a result, so nothing else in it looks like these fields.
func receipt(body []byte) (seq int64, repeat bool) {
	_, rest, ok := bytes.Cut(body, []byte(`"seq":`))
	if !ok {
		return 0, false
	}
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		seq = seq*10 + int64(c-'0')
	}
	return seq, bytes.Contains(body, []byte(`"duplicate":true`))
}

// dialer opens connections to the server of a Client.
type dialer struct {
	addr string
	tls  *tls.Config // nil: plain HTTP
	net  net.Dialer
}

func (c Client) dialer() (*dialer, error) {
	base, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	d := &dialer{addr: base.Host, net: net.Dialer{Timeout: 10 * time.Second}}
	if base.Port() == "" {
		d.addr = net.JoinHostPort(base.Hostname(), base.Scheme)
	}
	if base.Scheme == "https" {
		config, err := c.tlsConfig()
		if err != nil {
			return nil, err
		}
		config.ServerName = base.Hostname()
		config.NextProtos = []string{"http/1.1"}
		config.ClientSessionCache = tls.NewLRUClientSessionCache(16)
		d.tls = config
	}
	return d, nil
}

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	conn, err := d.net.DialContext(ctx, "tcp", d.addr)
	if err != nil || d.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, d.tls)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
