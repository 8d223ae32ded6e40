package api

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// upgrade answers the handshake. Browsers may connect from this host only: an
// Origin that is another is refused. idle waits until all frames are answered.
func upgrade(x *exchange, r *http.Request, idle func()) (*websocket.Conn, *streamConn, error) {
	if r.ProtoMajor != 1 {
		return nil, nil, upgradeRequired.withDetail("WebSocket is spoken over HTTP/1.1 here: connect without HTTP/2")
	}
	u := &upgrader{exchange: x, idle: idle}
	conn, err := websocket.Accept(u, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err == nil {
		x.status = http.StatusSwitchingProtocols
		conn.SetReadLimit(-1) // frame has a limit of its own, after which there are answers to give
		return conn, u.conn, nil
	}
	switch u.status {
	case http.StatusForbidden:
		return nil, nil, crossOrigin.withDetail("a page of another origin may not connect: %s", cut(u.text, 300))
	case http.StatusUpgradeRequired:
		return nil, nil, upgradeRequired.withDetail("%s", cut(u.text, 300))
	case http.StatusBadRequest:
		return nil, nil, invalidRequest.withDetail("%s", cut(u.text, 300))
	}
	return nil, nil, internal.withDetail("the cause is in the server's log, under this request_id").withCause(err)
}

// upgrader is the ResponseWriter of a handshake. It keeps what the library answers to
// one that fails, for a problem in its place, and gives it a connection of ours.
type upgrader struct {
	*exchange
	idle   func()
	conn   *streamConn
	status int
	text   string
}

func (u *upgrader) WriteHeader(status int) {
	if status != http.StatusSwitchingProtocols {
		u.status = status
		return
	}
	u.exchange.ResponseWriter.WriteHeader(status)
}

func (u *upgrader) Write(b []byte) (int, error) {
	u.text += string(b)
	return len(b), nil
}

// Hijack implements http.Hijacker.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(u.exchange).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	u.conn = &streamConn{Conn: raw, early: slices.Clone(early), idle: u.idle}
	rw.Reader.Reset(u.conn)
	rw.Writer.Reset(u.conn)
	return u.conn, rw, nil
}

// streamConn is a stream's connection. Each read and write has a deadline of its own:
// a client that is silent, or doesn't read, is gone.
//
// It also holds the sender's close frame back until every frame before it has been
// answered. The library answers a close at once, after which no answer may be sent
// (RFC 6455, section 5.5.1); a sender that closes right after its last frame, and then
// reads on until our close, as it must, would lose its answers.
type streamConn struct {
	net.Conn
	early []byte // came together with the handshake
	idle  func()
	final atomic.Int64 // Unix nanoseconds after which nothing is waited for; 0: no such time

	head    [14]byte // of a frame, as far as it was seen
	seen    int
	payload uint64 // bytes until the next frame begins
	held    []byte // from a close frame on
}

func (c *streamConn) Read(p []byte) (int, error) {
	if len(c.held) > 0 {
		c.idle()
		n := copy(p, c.held)
		c.held = c.held[n:]
		if len(c.held) == 0 {
			c.held = nil
		}
		return n, nil
	}
	n, err := c.read(p)
	if at := c.closeAt(p[:n]); at >= 0 {
		c.held = slices.Clone(p[at:n])
		if at > 0 {
			return at, err
		}
		return c.Read(p)
	}
	return n, err
}

func (c *streamConn) read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	if err := c.Conn.SetReadDeadline(c.deadline(streamSilence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *streamConn) deadline(d time.Duration) time.Time {
	if final := c.final.Load(); final != 0 {
		return time.Unix(0, final)
	}
	return time.Now().Add(d)
}

// finish gives the end of the connection its time, for both sides' close frames.
func (c *streamConn) finish() {
	final := time.Now().Add(streamEnd)
	c.final.Store(final.UnixNano())
	_ = c.Conn.SetDeadline(final)
}

func (c *streamConn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(c.deadline(streamWrite)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// closeAt follows the frames in p and returns where in it a close frame begins, or
// -1. (RFC 6455, section 5.2: opcode, length, mask.)
func (c *streamConn) closeAt(p []byte) int {
	const opClose = 8
	for i := 0; i < len(p); {
		if c.payload > 0 {
			n := min(c.payload, uint64(len(p)-i))
			c.payload -= n
			i += int(n)
			continue
		}
		if c.seen == 0 && p[i]&0xf == opClose {
			return i
		}
		c.head[c.seen] = p[i]
		c.seen++
		i++
		if c.seen == 1 {
			continue
		}
		length, short := 2, uint64(c.head[1]&0x7f)
		switch short {
		case 126:
			length += 2
		case 127:
			length += 8
		}
		whole := length
		if c.head[1]&0x80 != 0 {
			whole += 4
		}
		if c.seen < whole {
			continue
		}
		if short >= 126 {
			short = 0
			for _, b := range c.head[2:length] {
				short = short<<8 | uint64(b)
			}
		}
		c.payload, c.seen = short, 0
	}
	return -1
}
