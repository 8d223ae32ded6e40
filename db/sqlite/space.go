package sqlite

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// space watches the room on the file's disk, so that appends are refused while
// there is still room to settle what was accepted.
type space struct {
	dir string // "" for a database in memory: there is always room

	log   *slog.Logger
	again func() // called when there is room again

	mu     sync.Mutex
	at     time.Time // of the last look
	err    error     // of the last look
	failed error     // a write that found no room, and none has succeeded since
	said   bool      // that the disk is full
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
		s.at, s.err = now, look(s.dir, s.said)
		s.say()
	}
	return s.err
}

// full notes a write that found no room: a quota is not seen by a look.
func (s *space) full(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.say()
}

// wrote notes a write that found room.
func (s *space) wrote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		s.failed = nil
		s.say()
	}
}

// say logs once that the disk is full, and once that it isn't any more. s.mu is held.
func (s *space) say() {
	switch full := cmp.Or(s.err, s.failed); {
	case full != nil && !s.said:
		s.said = true
		free, reserve, _ := file.FreeSpace(s.dir)
		s.log.Error("the disk is full: events are refused until there is room", "error", full.Error(),
			"free", mib(free), "needed", mib(enough(reserve)))
	case full == nil && s.said:
		s.said = false
		s.again()
		s.log.Info("there is room on the disk again: events are taken")
	}
}

// enough is how much must be free for events to be taken again: somewhat more than where they
// began to be refused, so that what is settled in between doesn't open and shut the door.
func enough(reserve uint64) uint64 { return reserve + reserve/8 }

func mib(bytes uint64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

// look returns nil if there is room on dir's disk. full says that there was none.
func look(dir string, full bool) error {
	free, reserve, ok := file.FreeSpace(dir)
	needed := reserve
	if full {
		needed = enough(reserve)
	}
	if ok && free < needed { // not known is not full: the write itself will tell
		return fmt.Errorf("%w: %s are left, and events are taken again from %s on: the rest is kept for what was accepted", db.ErrStorageFull, mib(free), mib(enough(reserve)))
	}
	return nil
}

// Room returns nil if appends may be taken; see commit.Store.
func (w groups) Room() error { return w.space.low() }

// Full moves the WAL into the file; see commit.Store.
func (w groups) Full(err error) {
	w.space.full(err)
	w.makeRoom()
}

func (w groups) makeRoom() {
	whole, err := w.conn.ShrinkWAL()
	w.moved = w.moved || whole
	if err != nil {
		w.log.Warn("the WAL can't be moved into the file", "error", err.Error())
	}
}

// Tidy checkpoints a long WAL, and keeps one from growing into the room that is kept for
// settles; see commit.Store.
func (w groups) Tidy() {
	frames, whole := w.conn.Checkpoint()
	w.moved = w.moved || whole
	w.watchWAL(frames)
	if w.space.low() != nil && w.place.Path != "" && file.Size(w.place.Path+"-wal") > 1<<20 {
		w.makeRoom()
	}
}
