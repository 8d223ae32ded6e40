package serve

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// idleListener is the public listener of a process that ends when it is idle. It counts
// the connections and requests that are open. The look that finds none and the closing of
// the port are one step, under mu: a connection that comes before it is served and keeps
// the process awake, one that comes after it finds a closed port, as with a process that
// has ended.
type idleListener struct {
	net.Listener
	closed chan struct{} // by Close
	once   sync.Once

	mu     sync.Mutex
	open   int       // connections and requests
	active int       // those that have sent something, which a port check does not
	since  time.Time // when active became 0
	shut   bool
}

func newIdleListener(l net.Listener) *idleListener {
	return &idleListener{Listener: l, closed: make(chan struct{}), since: time.Now()}
}

// Accept returns the next connection. Once the port is shut it waits for Close, so that
// http.Server takes its end for the one that it has asked for.
func (l *idleListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	l.mu.Lock()
	shut := l.shut
	if err == nil && !shut {
		l.open++
	}
	l.mu.Unlock()
	switch {
	case shut:
		if err == nil {
			conn.Close() // nothing of it was read: it comes again
		}
		<-l.closed
		return nil, net.ErrClosed
	case err != nil:
		return nil, err
	}
	return &trackedConn{Conn: conn, listener: l}, nil
}

// Close closes the listener, if it isn't shut already.
func (l *idleListener) Close() (err error) {
	l.once.Do(func() {
		close(l.closed)
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.shut {
			err = l.Listener.Close()
		}
	})
	return err
}

// requests counts those of h: a request may go on when its connection is gone.
func (l *idleListener) requests(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.open++
		l.active++
		l.mu.Unlock()
		defer l.leave(true)
		h.ServeHTTP(w, r)
	})
}

// leave counts a connection or request out.
func (l *idleListener) leave(active bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if active {
		if l.active--; l.active == 0 {
			l.since = time.Now()
		}
	}
}

// shutIfIdle closes the port for good if nothing is open, nothing was active for so long,
// and busy reports false. It asks busy last: what a connection has brought makes it true
// before the connection ends.
func (l *idleListener) shutIfIdle(after time.Duration, busy func() bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open > 0 || time.Since(l.since) < after || busy() {
		return false
	}
	l.shut = true
	_ = l.Listener.Close() // it can only have failed already
	return true
}

// trackedConn is a connection of an idleListener.
type trackedConn struct {
	net.Conn
	listener *idleListener
	counted  atomic.Bool // as active: Read need not look again

	active, closed bool // guarded by listener.mu
}

func (c *trackedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.counted.Load() {
		c.listener.mu.Lock()
		if !c.active && !c.closed {
			c.active = true
			c.listener.active++
		}
		c.listener.mu.Unlock()
		c.counted.Store(true)
	}
	return n, err
}

func (c *trackedConn) Close() error {
	c.listener.mu.Lock()
	first, active := !c.closed, c.active
	c.closed = true
	c.listener.mu.Unlock()
	if first {
		defer c.listener.leave(active)
	}
	return c.Conn.Close()
}

// wait returns true once nothing was open and busy was false for that long, with the port
// shut, and false when stopping is closed. Work begins with a connection or while something
// is busy, so looking now and then misses none. An account that waits for its next attempt
// is busy, however long that is: nothing else would start it in time.
func (l *idleListener) wait(stopping <-chan struct{}, after time.Duration, busy func() bool) bool {
	look := time.NewTicker(min(max(after/20, time.Millisecond), 5*time.Second))
	defer look.Stop()
	since := time.Now() // the first look that found nothing to do
	for worked := false; ; {
		select {
		case <-stopping:
			return false
		case <-look.C:
		}
		switch {
		case busy():
			worked = true
		case worked:
			worked, since = false, time.Now()
		case time.Since(since) >= after && l.shutIfIdle(after, busy):
			return true
		}
	}
}
