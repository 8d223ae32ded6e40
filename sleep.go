package main

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// gate is the public listener of a process that ends when it is idle. It knows who
// is inside. The look that finds nobody and the shutting are one step, under mu:
// whoever comes before it is served and keeps the process awake, whoever comes after
// it finds a closed port, as with a process that has ended.
type gate struct {
	net.Listener
	closed chan struct{} // by Close
	once   sync.Once

	mu     sync.Mutex
	inside int       // connections and requests
	guests int       // of them, those that have said something; a port check doesn't
	left   time.Time // when the last guest went
	shut   bool
}

func newGate(l net.Listener) *gate {
	return &gate{Listener: l, closed: make(chan struct{}), left: time.Now()}
}

// Accept lets a connection in. Once the gate is shut it waits for Close, so that the
// server takes its end for the one that it has asked for.
func (g *gate) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	g.mu.Lock()
	shut := g.shut
	if err == nil && !shut {
		g.inside++
	}
	g.mu.Unlock()
	switch {
	case shut:
		if err == nil {
			conn.Close() // nothing of it was read: it comes again
		}
		<-g.closed
		return nil, net.ErrClosed
	case err != nil:
		return nil, err
	}
	return &visitor{Conn: conn, gate: g}, nil
}

// Close closes the listener, if it isn't shut already.
func (g *gate) Close() (err error) {
	g.once.Do(func() {
		close(g.closed)
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.shut {
			err = g.Listener.Close()
		}
	})
	return err
}

// requests counts those of h: a request may go on when its connection is gone.
func (g *gate) requests(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.inside++
		g.guests++
		g.mu.Unlock()
		defer g.leave(true)
		h.ServeHTTP(w, r)
	})
}

func (g *gate) leave(guest bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if guest {
		if g.guests--; g.guests == 0 {
			g.left = time.Now()
		}
	}
}

// shutIfIdle shuts the gate for good if nobody is inside, the last guest went at least
// so long ago, and nothing is busy. What a connection has brought is seen by busy
// before the connection ends, so busy is asked last.
func (g *gate) shutIfIdle(after time.Duration, busy func() bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside > 0 || time.Since(g.left) < after || busy() {
		return false
	}
	g.shut = true
	_ = g.Listener.Close() // it can only have failed already
	return true
}

// visitor is a connection of a gate.
type visitor struct {
	net.Conn
	gate  *gate
	known atomic.Bool // Read need not look again

	guest, gone bool // gate.mu guards them
}

func (v *visitor) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if n > 0 && !v.known.Load() {
		v.gate.mu.Lock()
		if !v.guest && !v.gone {
			v.guest = true
			v.gate.guests++
		}
		v.gate.mu.Unlock()
		v.known.Store(true)
	}
	return n, err
}

func (v *visitor) Close() error {
	v.gate.mu.Lock()
	first, guest := !v.gone, v.guest
	v.gone = true
	v.gate.mu.Unlock()
	if first {
		defer v.gate.leave(guest)
	}
	return v.Conn.Close()
}

// untilIdle returns true once nobody was here and nothing was busy for that long,
// with g shut, and false when stopping is closed. Work begins with a guest or while
// something is busy, so looking now and then misses none. An account that waits for its
// next attempt is busy, however long that is: nothing else would start it in time.
func untilIdle(stopping <-chan struct{}, g *gate, after time.Duration, busy func() bool) bool {
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
		case time.Since(since) >= after && g.shutIfIdle(after, busy):
			return true
		}
	}
}
