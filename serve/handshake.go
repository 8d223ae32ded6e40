package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"inturn/functions/api"
)

// handshakeListener does TLS's handshakes before http.Server sees a connection, each on a
// goroutine of its own. One of HTTP/1 can then be given to it as another type than
// *tls.Conn, whose answers of its own are problems; HTTP/2 takes no other.
type handshakeListener struct {
	net.Listener
	config *tls.Config
	within time.Duration
	logf   func(format string, args ...any) // net/http's words for its own log

	begin sync.Once
	ready chan accepted
	open  context.Context // ends with Close
	close context.CancelFunc
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

func newHandshakeListener(l net.Listener, config *tls.Config, within time.Duration, logf func(string, ...any)) *handshakeListener {
	h := &handshakeListener{Listener: l, config: config, within: within, logf: logf, ready: make(chan accepted)}
	h.open, h.close = context.WithCancel(context.Background())
	return h
}

// Accept returns the next connection whose handshake is done.
func (l *handshakeListener) Accept() (net.Conn, error) {
	l.begin.Do(func() { go l.accept() })
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.open.Done():
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and each connection whose handshake isn't done.
func (l *handshakeListener) Close() error {
	l.close()
	return l.Listener.Close()
}

func (l *handshakeListener) accept() {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if l.hand(accepted{err: err}); errors.Is(err, net.ErrClosed) || l.open.Err() != nil {
				return
			}
			continue
		}
		go l.handshake(conn)
	}
}

// hand gives a to Accept.
func (l *handshakeListener) hand(a accepted) {
	select {
	case l.ready <- a:
	case <-l.open.Done():
		if a.conn != nil {
			a.conn.Close()
		}
	}
}

func (l *handshakeListener) handshake(conn net.Conn) {
	encrypted := tls.Server(conn, l.config)
	ctx, cancel := context.WithTimeout(l.open, l.within)
	defer cancel()
	if err := encrypted.HandshakeContext(ctx); err != nil {
		if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
			_ = plain.Conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = plain.Conn.Write(api.PlainAnswer()) // else the client sees the end alone
		}
		l.logf("http: TLS handshake error from %s: %v", conn.RemoteAddr(), err)
		conn.Close()
		return
	}
	switch encrypted.ConnectionState().NegotiatedProtocol {
	case "", "http/1.1":
		l.hand(accepted{conn: &encryptedHTTP1{Conn: encrypted, answers: api.Conn(encrypted)}})
	default:
		l.hand(accepted{conn: encrypted})
	}
}

// encryptedHTTP1 is a connection of HTTP/1 over TLS whose answers that are net/http's own are
// problems.
type encryptedHTTP1 struct {
	*tls.Conn
	answers net.Conn
}

// Write writes b, or a problem in its place.
func (c *encryptedHTTP1) Write(b []byte) (int, error) { return c.answers.Write(b) }

// looksLikeHTTP reports whether a client's first bytes are those of a request.
func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}
