package serve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"inturn/functions/api"
)

// drainListener is the public listener. It knows which of its connections have requests, so
// that HTTP/2's GOAWAY is not sent on such a connection: Java's client takes all streams that are
// open then for failed, answered or not.
type drainListener struct {
	net.Listener
	observe func(net.Conn, http.ConnState) // nil: nothing

	draining atomic.Bool
	mu       sync.Mutex
	open     map[*servedConn]struct{}
	left     map[*servedConn]struct{} // what idle waits for
	empty    chan struct{}            // closed when left is empty
}

// servedConn is a connection of a drainListener.
type servedConn struct {
	net.Conn
	listener *drainListener
	active   atomic.Bool // it has requests
}

func newDrainListener(l net.Listener) *drainListener {
	return &drainListener{Listener: l, open: map[*servedConn]struct{}{}, empty: make(chan struct{})}
}

func (l *drainListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &servedConn{Conn: api.Conn(conn), listener: l}
	l.mu.Lock()
	l.open[c] = struct{}{}
	l.mu.Unlock()
	return c, nil
}

func (c *servedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	c.listener.done(c)
	return c.Conn.Close()
}

// connState is http.Server.ConnState. A connection of HTTP/2 is active until the last
// frame of its last stream is written.
func (l *drainListener) connState(conn net.Conn, state http.ConnState) {
	if l.observe != nil {
		l.observe(conn, state)
	}
	if encrypted, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = encrypted.NetConn()
	}
	c, ok := conn.(*servedConn)
	if !ok {
		return
	}
	active := state == http.StateActive
	if c.active.Store(active); !active {
		l.done(c)
	}
}

// done counts a connection out that idle waits for.
func (l *drainListener) done(c *servedConn) {
	if !l.draining.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.left[c]; ok {
		if delete(l.left, c); len(l.left) == 0 {
			close(l.empty)
		}
	}
}

// idle returns when each connection that has requests now has been without one for a
// moment, or when ctx ends. It is called once, after new requests are refused: what was
// begun before is then answered.
func (l *drainListener) idle(ctx context.Context) {
	l.draining.Store(true)
	l.mu.Lock()
	l.left = map[*servedConn]struct{}{}
	for c := range l.open {
		if c.active.Load() {
			l.left[c] = struct{}{}
		}
	}
	n := len(l.left)
	l.mu.Unlock()
	if n == 0 {
		return
	}
	select {
	case <-l.empty:
	case <-ctx.Done():
	}
}
