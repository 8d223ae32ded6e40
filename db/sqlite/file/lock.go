package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"inturn/db"
)

// Lock is the right to try to own a database: a flock on a file beside it, which
// the system frees when its holder dies. The holder also writes a beat into the
// file; where the beat stands still although the lock is held (a stopped process,
// a hung machine), a waiter puts a new lock file in its place. That alone gives no
// right to write: ownership is the epoch in the database.
//
// The file also says up to which seq events were answered: it is written after each
// commit, outside the database and its WAL, so that a database which has lost such
// events, or an older copy in its place, is found out. It is not synced, as the database
// always is before it: after a power cut it may say less, never more.
type Lock struct {
	path    string
	name    string
	file    *os.File
	created bool  // there was no file before
	found   int64 // what the last holder had answered, see Answered
	quit    chan struct{}
	done    chan struct{}

	place atomic.Pointer[Place]
	next  atomic.Int64 // what was answered
}

const (
	beatEvery = time.Second
	beatDead  = 15 * time.Second // of the waiter's own monotonic clock
	lockEvery = 50 * time.Millisecond
	lockSay   = 10 * time.Second
)

// Acquire waits for the lock of the database at path until ctx ends. Processes that wait
// log name as that of the holder; lost is called once, with the reason, if another
// process has taken the lock's place, or a file that Watch was given is not in its own.
func Acquire(ctx context.Context, path, name string, log *slog.Logger, lost func(error)) (*Lock, error) {
	l := &Lock{path: path + ".lock", name: name, quit: make(chan struct{}), done: make(chan struct{})}
	var holder, beat string
	var moved, said time.Time
	for {
		err := l.tryLock()
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", l.path, err)
		}
		now := time.Now()
		who, b := readBeat(l.path)
		if moved.IsZero() || b != beat || who != holder {
			holder, beat, moved = who, b, now
		}
		if still := now.Sub(moved); still >= beatDead {
			log.Warn("the holder's beat stands still; taking its place", "holder", holder, "still", still.Round(time.Second))
			l.found = answeredIn(b)
			if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("lock %s: %w", l.path, err)
			}
			continue
		}
		if said.IsZero() || now.Sub(said) >= lockSay {
			said = now
			log.Warn("another process has the database; standing by until it ends", "holder", holder,
				"beat", now.Sub(moved).Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: held by %s: %w", l.path, holder, ctx.Err())
		case <-time.After(lockEvery):
		}
	}
	_, b := readBeat(l.path)
	l.found = max(l.found, answeredIn(b)) // a file that was removed has none
	l.next.Store(l.found)
	if err := l.write(); err != nil {
		l.file.Close()
		return nil, fmt.Errorf("lock %s: %w", l.path, err)
	}
	go l.run(lost)
	return l, nil
}

// Watch has the beat check the files of the database.
func (l *Lock) Watch(p *Place) { l.place.Store(p) }

// Answered returns the next seq after those whose answers the last holder may have sent,
// 0 where that isn't known.
func (l *Lock) Answered() int64 { return l.found }

// SetAnswered notes the next seq after those that were committed, before anything is
// answered; 0 makes it unknown. That the note can't be written holds nothing up.
func (l *Lock) SetAnswered(next int64) {
	if l.next.Swap(next) != next {
		_, _ = l.file.WriteAt(fmt.Appendf(nil, "%020d\n", next), int64(len(l.name)+1+21))
	}
}

// Answered returns what the lock's file beside the database at path says was answered,
// see Lock.Answered.
func Answered(path string) int64 {
	_, beat := readBeat(path + ".lock")
	return answeredIn(beat)
}

// answeredIn reads the number behind that of the beat.
func answeredIn(beat string) int64 {
	_, text, _ := strings.Cut(beat, "\n")
	if text, _, ok := strings.Cut(text, "\n"); ok && len(text) == 20 {
		if next, err := strconv.ParseInt(text, 10, 64); err == nil {
			return next
		}
	}
	return 0
}

// tryLock takes the lock if it is free.
func (l *Lock) tryLock() error {
	if err := l.openFile(); err != nil {
		return err
	}
	if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		l.file.Close()
		return err
	}
	if !l.inPlace() { // replaced between opening and locking
		l.file.Close()
		return syscall.EWOULDBLOCK
	}
	return nil
}

// openFile opens the lock's file, or makes it. The holder writes to it, so it must be a
// file that has never been anything else: no link to another one, and empty or a beat.
func (l *Lock) openFile() (err error) {
	const how = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|how, 0o600)
	if l.created = err == nil; l.created {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		l.file, err = os.OpenFile(l.path, os.O_RDWR|how, 0)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // removed in between, or a link that leads nowhere
		if _, lerr := os.Lstat(l.path); lerr != nil {
			return syscall.EWOULDBLOCK
		}
		return errNoLock("a symbolic link")
	case errors.Is(err, syscall.ELOOP):
		return errNoLock("a symbolic link")
	case errors.Is(err, syscall.EISDIR):
		return errNoLock("a folder")
	case err != nil:
		return err
	}
	if err := checkBeat(l.file); err != nil {
		l.file.Close()
		return err
	}
	return nil
}

func errNoLock(what string) error {
	return fmt.Errorf("it is %s and no lock of inturn's: move it away, or give the database another name", what)
}

// checkBeat returns an error if f is not a lock's file, to which the beat can be written.
func checkBeat(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || ok && st.Nlink > 1 {
		return errNoLock("a file of another kind, or has a second name")
	}
	text := make([]byte, 512)
	n, _ := f.ReadAt(text, 0)                // a shorter one is looked at as far as it goes
	text = bytes.TrimRight(text[:n], "\x00") // of a beat that was not synced a power cut leaves zeros
	if len(text) > 0 && !beatText.Match(text) {
		return errNoLock("another program's file")
	}
	return nil
}

// beatText is how beat writes.
var beatText = regexp.MustCompile(`^[^\n]*\n\d{20}\n`)

// inPlace reports whether the file we hold is still the one at the path.
func (l *Lock) inPlace() bool {
	ours, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(l.path)
	return err == nil && os.SameFile(ours, there)
}

// ErrLockRemoved: the lock's file was removed or replaced while its holder ran. No other
// process is known to have the database, and any could take it, so the holder must end.
var ErrLockRemoved = errors.New("the lock's file was moved, removed or replaced while the database was open")

// displaced returns why the lock's file isn't ours any more: db.ErrFenced if there is another
// process's beat, as a waiter puts there when ours stands still; else ErrLockRemoved.
func (l *Lock) displaced() error {
	if holder, beat := readBeat(l.path); beat != "" && holder != l.name {
		return fmt.Errorf("%w: %s has put a lock of its own in the place of ours", db.ErrFenced, holder)
	}
	return fmt.Errorf("%w: %s", ErrLockRemoved, l.path)
}

func (l *Lock) run(lost func(error)) {
	defer close(l.done)
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
		if !l.inPlace() {
			lost(l.displaced())
			return
		}
		if p := l.place.Load(); p != nil {
			if err := p.Check(); err != nil {
				lost(err)
				return
			}
		}
		_ = l.beat(n) // a full disk must not end the holder; the fence does not need the beat
	}
}

// write makes the file's content: the holder, the count of the beat and what was
// answered, a line each.
func (l *Lock) write() error {
	text := fmt.Appendf(nil, "%s\n%020d\n%020d\n", l.name, 0, l.next.Load())
	if _, err := l.file.WriteAt(text, 0); err != nil {
		return err
	}
	return l.file.Truncate(int64(len(text)))
}

// startRoom is how much of the disk a lock's file keeps for the next start, in bytes: for the
// WAL's index, and for a WAL with the commit that takes the file.
const startRoom = 2 << 20

// KeepRoom makes the lock's file longer, by zeros, where the disk has room. The next Acquire
// cuts it off first: so a start works on a disk that is full to the last byte.
func (l *Lock) KeepRoom() {
	free, reserve, ok := FreeSpace(filepath.Dir(l.path))
	if ok && free > reserve+startRoom {
		_ = keepRoom(l.file, startRoom) // without it a start needs room, as a first one does
	}
}

// beat writes the count in its place.
func (l *Lock) beat(n int) error {
	_, err := l.file.WriteAt(fmt.Appendf(nil, "%020d\n", n), int64(len(l.name)+1))
	return err
}

// readBeat returns what the holder of the lock at path has written.
func readBeat(path string) (holder, beat string) {
	var b []byte
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(f, 4<<10))
		f.Close()
	}
	if err != nil {
		return "an unknown process", ""
	}
	holder, beat, _ = strings.Cut(string(b), "\n")
	if holder == "" {
		holder = "an unknown process"
	}
	return holder, beat
}

// Withdraw removes the lock's file if there was none before Acquire: a database that is
// refused is left as it was. The lock must still be released. A waiter that has opened
// the file finds that it is not in its place any more, and makes another.
func (l *Lock) Withdraw() {
	if l.created && l.inPlace() {
		os.Remove(l.path) // what is left is a lock that is free
	}
}

// Release frees the lock. The file stays for the next holder.
func (l *Lock) Release() {
	close(l.quit)
	<-l.done
	l.file.Close()
}
