package serve

import (
	"net"
	"net/http"
	"sync"
	"time"

	"inturn/functions/api"
)

// sideConnections bounds the connections of --admin and of --http-listen, each.
const sideConnections = 256

// sideIdle is how long a connection there may be without a request.
const sideIdle = 10 * time.Second

// yieldListener lets every connection in. Past its bound one gives way: the one that has
// been without a request for longest, or where all have requests the one whose request is
// oldest. Health is answered so whatever else is open.
type yieldListener struct {
	net.Listener
	max int

	mu   sync.Mutex
	open map[*yieldConn]struct{}
}

// yieldConn is a connection of a yieldListener.
type yieldConn struct {
	net.Conn
	listener *yieldListener
	active   bool      // it has a request; guarded by listener.mu
	since    time.Time // when active became what it is; guarded by listener.mu
}

func newYieldListener(l net.Listener, max int) *yieldListener {
	return &yieldListener{Listener: l, max: max, open: map[*yieldConn]struct{}{}}
}

func (l *yieldListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &yieldConn{Conn: api.Conn(conn), listener: l, since: time.Now()}
	l.mu.Lock()
	var gives *yieldConn
	if len(l.open) >= l.max {
		for other := range l.open {
			if gives == nil || other.before(gives) {
				gives = other
			}
		}
		delete(l.open, gives)
	}
	l.open[c] = struct{}{}
	l.mu.Unlock()
	if gives != nil {
		gives.Conn.Close()
	}
	return c, nil
}

// before reports whether c gives way before other.
func (c *yieldConn) before(other *yieldConn) bool {
	if c.active != other.active {
		return !c.active
	}
	return c.since.Before(other.since)
}

func (c *yieldConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// connState is http.Server.ConnState.
func (l *yieldListener) connState(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*yieldConn)
	if !ok || state != http.StateActive && state != http.StateIdle {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.active, c.since = state == http.StateActive, time.Now()
}
