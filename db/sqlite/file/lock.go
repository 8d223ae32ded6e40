package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"
)

// Lock is the right to try to own a database: a flock on a file beside it, which
// the system frees when its holder dies. The holder also writes a beat into the
// file; where the beat stands still although the lock is held (a stopped process,
// a hung machine), a waiter puts a new lock file in its place. That alone gives no
// right to write: ownership is the epoch in the database.
type Lock struct {
	path string
	file *os.File
	quit chan struct{}
	done chan struct{}
}

const (
	beatEvery = time.Second
	beatDead  = 15 * time.Second // of the waiter's own monotonic clock
	lockEvery = 50 * time.Millisecond
	lockSay   = 10 * time.Second
)

// Acquire waits for the lock of the database at path until ctx ends. name is what
// others are told about its holder; lost is called once if another process has
// taken the lock's place.
func Acquire(ctx context.Context, path, name string, log *slog.Logger, lost func()) (*Lock, error) {
	l := &Lock{path: path + ".lock", quit: make(chan struct{}), done: make(chan struct{})}
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
			if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("lock %s: %w", l.path, err)
			}
			continue
		}
		if said.IsZero() || now.Sub(said) >= lockSay {
			said = now
			log.Warn("another process has the database; waiting for it to end", "holder", holder,
				"beat", now.Sub(moved).Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: held by %s: %w", l.path, holder, ctx.Err())
		case <-time.After(lockEvery):
		}
	}
	if err := l.beat(name, 0); err != nil {
		l.file.Close()
		return nil, fmt.Errorf("lock %s: %w", l.path, err)
	}
	go l.run(name, lost)
	return l, nil
}

// try takes the lock if it is free.
func (l *Lock) tryLock() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return err
	}
	l.file = f
	if !l.inPlace() { // replaced between opening and locking
		f.Close()
		return syscall.EWOULDBLOCK
	}
	return nil
}

// inPlace reports whether the file we hold is still the one at the path.
func (l *Lock) inPlace() bool {
	ours, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(l.path)
	return err == nil && os.SameFile(ours, there)
}

func (l *Lock) run(name string, lost func()) {
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
			lost()
			return
		}
		_ = l.beat(name, n) // a full disk must not end the holder; the fence does not need the beat
	}
}

// beat writes "holder<newline>count" in one fixed place.
func (l *Lock) beat(name string, n int) error {
	_, err := l.file.WriteAt(fmt.Appendf(nil, "%s\n%020d\n", name, n), 0)
	return err
}

func readBeat(path string) (holder, beat string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "an unknown process", ""
	}
	holder, beat, _ = strings.Cut(string(b), "\n")
	if holder == "" {
		holder = "an unknown process"
	}
	return holder, beat
}

// Release frees the lock. The file stays: removing it would race with a waiter
// that has opened it.
func (l *Lock) Release() {
	close(l.quit)
	<-l.done
	l.file.Close()
}
