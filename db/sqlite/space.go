package sqlite

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"inturn/db"
)

// space watches the room on the file's disk, so that appends are refused while
// there is still room to settle what was accepted.
type space struct {
	dir string // "" for a database in memory: there is always room

	mu  sync.Mutex
	at  time.Time // of the last look
	err error
}

// How much room is kept for settles: the smaller of both.
const (
	spaceReserve      = 64 << 20
	spaceReserveShare = 20                    // a twentieth of the disk
	spaceEvery        = 50 * time.Millisecond // a fast disk fills the reserve of a small one in less than a second
)

// low returns nil if there is room, else an error that wraps ErrStorageFull.
func (s *space) low() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		return nil
	}
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) >= spaceEvery {
		s.at, s.err = now, look(s.dir)
	}
	return s.err
}

// room returns the bytes that are left on dir's disk, and how many of them are kept
// for settles. ok is false where the system doesn't say.
func room(dir string) (free, reserve uint64, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, false
	}
	size := uint64(st.Bsize)
	return uint64(st.Bavail) * size, min(uint64(spaceReserve), st.Blocks*size/spaceReserveShare), true
}

func look(dir string) error {
	free, reserve, ok := room(dir)
	if ok && free < reserve { // not known is not full: the write itself will tell
		return fmt.Errorf("%w: %d MiB are left, %d MiB are kept for what was accepted", db.ErrStorageFull, free>>20, reserve>>20)
	}
	return nil
}
