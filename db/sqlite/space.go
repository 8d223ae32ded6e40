package sqlite

import (
	"fmt"
	"sync"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// space watches the room on the file's disk, so that appends are refused while
// there is still room to settle what was accepted.
type space struct {
	dir string // "" for a database in memory: there is always room

	mu  sync.Mutex
	at  time.Time // of the last look
	err error
}

// spaceEvery is how often the disk is looked at: a fast disk fills the reserve of a small
// one in less than a second.
const spaceEvery = 50 * time.Millisecond

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

func look(dir string) error {
	free, reserve, ok := file.FreeSpace(dir)
	if ok && free < reserve { // not known is not full: the write itself will tell
		return fmt.Errorf("%w: %d MiB are left, %d MiB are kept for what was accepted", db.ErrStorageFull, free>>20, reserve>>20)
	}
	return nil
}

// Room returns nil if appends may be taken; see commit.Store.
func (w *writer) Room() error { return w.space.low() }

// MakeRoom moves the WAL into the file; see commit.Store.
func (w *writer) MakeRoom() {
	if err := w.conn.ShrinkWAL(); err != nil {
		w.log.Warn("the WAL can't be moved into the file", "error", err.Error())
	}
}

// Tidy checkpoints a long WAL, and keeps one from growing into the room that is kept for
// settles; see commit.Store.
func (w *writer) Tidy() {
	w.conn.Checkpoint()
	w.watchWAL()
	if w.space.low() != nil && w.place.Path != "" && file.Size(w.place.Path+"-wal") > 1<<20 {
		w.MakeRoom()
	}
}
