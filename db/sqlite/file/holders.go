package file

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Process is another process that has locks of SQLite's on a database.
type Process struct {
	PID  int    // 0 where it is not known, as of a process outside this container
	Name string // as ps shows it, "" where the system doesn't say
}

func (p Process) String() string {
	switch {
	case p.PID == 0:
		return "a process that can't be seen from here"
	case p.Name == "":
		return fmt.Sprintf("process %d", p.PID)
	}
	return fmt.Sprintf("process %d (%s)", p.PID, p.Name)
}

// The bytes of SQLite's locks on the index of a WAL.
// https://www.sqlite.org/walformat.html#wal_locks
const (
	walWriteByte = 120
	walReadByte  = 123 // of the first of walReaders
	walReaders   = 5
)

// The bytes of SQLite's locks on a database file that say that a transaction writes. A
// database in WAL mode has none.
const (
	sqlitePending  = 0x40000000
	sqliteReserved = sqlitePending + 1
)

// Writer returns the other process that has the write lock; ok is false where none has,
// as where it is another connection of this one.
func (p *Place) Writer() (other Process, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.openIndex()
	if other, ok = holder(p.index(), walWriteByte, 1); ok {
		return other, true
	}
	return holder(p.database.file, sqlitePending, sqliteReserved-sqlitePending+1)
}

// Readers returns other processes that read a state of the WAL, at most one for each of
// SQLite's five marks: as long as one reads, the WAL is not begun anew.
func (p *Place) Readers() (others []Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.openIndex()
	for i := range int64(walReaders) {
		if other, ok := holder(p.index(), walReadByte+i, 1); ok && !slices.Contains(others, other) {
			others = append(others, other)
		}
	}
	return others
}

// openIndex opens the WAL's index for questions about its locks where it isn't watched
// yet. It stays open until Close: closing it would end SQLite's locks on it. p.mu is held.
func (p *Place) openIndex() {
	if p.shm.file == nil && p.asked == nil && p.Path != "" && !p.stopped {
		p.asked, _ = os.OpenFile(p.Path+"-shm", os.O_RDWR, 0) // without it the locks are not known
	}
}

func (p *Place) index() *os.File {
	if p.shm.file != nil {
		return p.shm.file
	}
	return p.asked
}

// holder returns a process that has a lock on one of length bytes from start.
func holder(f *os.File, start, length int64) (other Process, ok bool) {
	if f == nil {
		return other, false
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: start, Len: length}
	if syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock) != nil || lock.Type == syscall.F_UNLCK {
		return other, false
	}
	if lock.Pid > 0 { // it is 0 or less where the process is in another namespace, or has no single one
		other.PID, other.Name = int(lock.Pid), nameOf(int(lock.Pid))
	}
	return other, true
}

// nameOf returns the name of a process (proc(5)), made safe for a log line and an answer.
func nameOf(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(bytes.TrimSpace(name)))
}
