package api

import (
	"context"
	"sync"
	"sync/atomic"
)

// DefaultMaxStreams bounds the WebSocket connections and NDJSON requests at once.
const DefaultMaxStreams = 1000

// Bounds of what all streams together have read and not yet answered, in bytes. At
// the first no stream begins to read another event; the second is the end for one
// that is in the middle of it.
const (
	maxStreamsHeld  = 64 << 20
	mostStreamsHeld = 2 * maxStreamsHeld
)

// Streams counts the connections and requests that send events for as long as they like.
// net/http may not know such a connection any more, so a shutdown must wait here.
type Streams struct {
	max     int
	openNow atomic.Int64 // open, without the lock

	mu    sync.Mutex
	open  int
	held  int64
	room  chan struct{} // closed when held has fallen below the bound; nil: nobody waits
	empty chan struct{} // closed when open is 0; nil: nobody waits
}

// NewStreams returns Streams that allow most streams at once (0: DefaultMaxStreams).
func NewStreams(most int) *Streams {
	if most <= 0 {
		most = DefaultMaxStreams
	}
	return &Streams{max: most}
}

// Wait returns when no stream is open, or with ctx's error. Streams end by
// themselves once Options.Stopping is closed.
func (s *Streams) Wait(ctx context.Context) error {
	s.mu.Lock()
	if s.open == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter is the begin of a stream; leave is its end, if enter took it.
func (s *Streams) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= s.max {
		return overloaded.withDetail("%d streams are open: come back later, or send events in requests of their own", s.open)
	}
	s.open++
	s.openNow.Store(int64(s.open))
	return nil
}

// groupItems returns how many events a group of one of the open streams may have.
func (s *Streams) groupItems() int {
	return min(groupItems, max(minGroupItems, allGroupItems/max(1, int(s.openNow.Load()))))
}

func (s *Streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	s.openNow.Store(int64(s.open))
	if s.open == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Open returns how many there are, and the bytes that they have read and not yet answered.
func (s *Streams) Open() (streams int, heldBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open, s.held
}

// hold counts n bytes that were read and reports whether that may go on.
func (s *Streams) hold(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held += int64(n)
	return s.held <= mostStreamsHeld
}

// release gives n bytes back.
func (s *Streams) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held -= int64(n); s.held < maxStreamsHeld && s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// waitRoom returns when another event may be read, or when ctx ends.
func (s *Streams) waitRoom(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.held < maxStreamsHeld {
			s.mu.Unlock()
			return nil
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
