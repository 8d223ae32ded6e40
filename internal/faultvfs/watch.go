package faultvfs

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"
)

// Op is something done to a file.
type Op string

// The operations. All are reported to OnStep; all but Create and Delete can be made to fail.
const (
	Open     Op = "open"
	Read     Op = "read"
	Create   Op = "create"
	Write    Op = "write"
	Truncate Op = "truncate"
	Sync     Op = "sync"
	Delete   Op = "delete"
)

// Kind is what SQLite uses a file for.
type Kind string

// The kinds of files.
const (
	Main    Kind = "main"
	WAL     Kind = "wal"
	Journal Kind = "journal"
)

func kindOf(flags int32) Kind {
	switch {
	case flags&sqlite3.SQLITE_OPEN_WAL != 0:
		return WAL
	case flags&(sqlite3.SQLITE_OPEN_MAIN_JOURNAL|sqlite3.SQLITE_OPEN_SUPER_JOURNAL) != 0:
		return Journal
	}
	return Main
}

// Event is one step of SQLite's on a watched file.
type Event struct {
	Op   Op
	Kind Kind // "" of a deletion
	Name string
}

// Watched is a folder that is watched.
type Watched struct {
	root      string
	oldReader atomic.Bool

	mu     sync.Mutex
	disk   *Disk
	faults []*Fault
	onStep func(Event, *Disk)
	onFail func(Event)
	lies   func(Event) bool
	counts map[Event]int
}

// Watch watches the files that SQLite opens in root and below it from now on. What
// is there already is taken to be safe on the disk. stop ends it; the files must be
// closed by then.
func Watch(root string) (w *Watched, stop func(), err error) {
	return watch(root, NewDisk())
}

func watch(root string, d *Disk) (*Watched, func(), error) {
	root, err := filepath.EvalSymlinks(root) // as SQLite names them
	if err != nil {
		return nil, nil, err
	}
	vfs.once.Do(register)
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	if vfs.watches[root] != nil {
		return nil, nil, errors.New("the folder is watched already")
	}
	w := &Watched{root: root, disk: d, counts: map[Event]int{}}
	vfs.watches[root] = w
	return w, func() {
		vfs.mu.Lock()
		defer vfs.mu.Unlock()
		delete(vfs.watches, root)
	}, nil
}

// Fork copies the folder as a killed process leaves it, with everything written and
// nothing open, to another one and watches that: what was not safe is not safe there.
func (w *Watched) Fork(root string) (*Watched, func(), error) {
	w.mu.Lock()
	d := w.disk.Clone()
	w.mu.Unlock()
	return Continue(root, d)
}

// Continue fills an empty folder with what the disk shows and watches it as that disk.
func Continue(root string, d *Disk) (*Watched, func(), error) {
	if err := d.Live().WriteTo(root); err != nil {
		return nil, nil, err
	}
	return watch(root, d)
}

// Cut returns what a power cut would leave now.
func (w *Watched) Cut(rng *rand.Rand) Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.disk.Cut(rng)
}

// Live returns what the kernel shows.
func (w *Watched) Live() Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.disk.Live()
}

// OnStep sets what is called before each step that changes something. It may cut
// or clone the disk, and must not call the database.
func (w *Watched) OnStep(fn func(Event, *Disk)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onStep = fn
}

// OnFail sets what is called when a fault makes a step fail.
func (w *Watched) OnFail(fn func(Event)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onFail = fn
}

// Lie makes the syncs that fn selects succeed without doing anything; nil: none.
func (w *Watched) Lie(fn func(Event) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lies = fn
}

// OldReader makes checkpoints find that somebody reads an old state of the file, as
// a forgotten transaction in a database shell does.
func (w *Watched) OldReader(on bool) { w.oldReader.Store(on) }

// Count returns how often op was done to files of a kind.
func (w *Watched) Count(op Op, kind Kind) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for e, c := range w.counts {
		if e.Op == op && e.Kind == kind {
			n += c
		}
	}
	return n
}

// Fault makes steps fail.
type Fault struct {
	Op     Op
	Kind   Kind          // "": any
	Suffix string        // of the file's name; "": any
	Errno  syscall.Errno // ENOSPC, EDQUOT, EIO
	After  int           // steps that still succeed
	Times  int           // steps that fail then; 0: all until it is cleared

	hits int
	over bool
}

// Inject adds a fault; Clear takes all away. Both may be called while the database works.
func (w *Watched) Inject(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, &f)
}

// Stop ends the present faults: no further step fails. Clear still counts the steps that
// failed before.
func (w *Watched) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		f.over = true
	}
}

// Clear ends all faults and returns how many steps they made fail.
func (w *Watched) Clear() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, f := range w.faults {
		n += f.hits
	}
	w.faults = nil
	return n
}

// Hits returns how many steps the present faults made fail.
func (w *Watched) Hits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, f := range w.faults {
		n += f.hits
	}
	return n
}

// fault returns the error of a step, 0 if it is to succeed. mu is held.
func (w *Watched) fault(e Event) syscall.Errno {
	for _, f := range w.faults {
		if f.over || f.Op != e.Op || f.Kind != "" && f.Kind != e.Kind || !strings.HasSuffix(e.Name, f.Suffix) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		if f.Times > 0 && f.hits >= f.Times {
			continue
		}
		f.hits++
		if w.onFail != nil {
			w.onFail(e)
		}
		return f.Errno
	}
	return 0
}

// tell counts a step and calls onStep, if it is set. mu is held.
func (w *Watched) tell(e Event) {
	w.counts[e]++
	if w.onStep != nil {
		w.onStep(e, w.disk)
	}
}
