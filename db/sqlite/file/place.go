package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// Place watches the files of an open database: that they are still those at their paths,
// and that this process still has SQLite's locks on each. A database that was moved,
// removed or replaced while it is open, or whose WAL was, goes on to take writes that
// nobody will find again.
//
// It marks the database file and the WAL's index with a lock of its own, on a byte beside
// SQLite's. The mark of the database file keeps out a second process that has the file
// under another name (a bind mount). And as a process loses all its POSIX locks on a file
// when it closes any descriptor of it (fcntl(2)), as a function that reads the file would,
// a mark that is gone says that SQLite's locks are gone too.
type Place struct {
	Path string // "" in memory, where there is nothing to watch

	log      *slog.Logger
	mu       sync.Mutex // of Check
	database watched
	wal, shm watched  // watched once WatchWAL was called
	asked    *os.File // the WAL's index before it is watched, nil until it was needed
	stopped  bool
	unmarked bool // a stopped process has the mark, see OpenPlace
}

// watched is a file as it was found.
type watched struct {
	path string
	id   identity
	file *os.File // nil for the WAL, which has no locks. Closed after SQLite has closed its own
}

// Where the marks lie: beyond SQLite's lock bytes, in a page that holds no data.
// https://www.sqlite.org/fileformat.html#the_lock_byte_page
const (
	sqliteShared     = 0x40000000 + 2
	sqliteSharedSize = 510
	markByte         = 0x40000000 + 512
)

// markEvery is how often a mark that another process has is tried again.
const markEvery = 50 * time.Millisecond

// OpenPlace opens the database file at path, which must be there, and marks it. It waits
// until ctx ends while another process has the file under another name. One that has it
// under this name is not waited for: it has lost the lock to this one, and is fenced by the
// epoch. It must be called before SQLite opens the file.
//
// A file with more than one name (hard links) is refused: each name has a WAL of its own.
func OpenPlace(ctx context.Context, path string, log *slog.Logger) (*Place, error) {
	if path == "" {
		return &Place{}, nil
	}
	p := &Place{Path: path, log: log}
	var err error
	if p.database, err = watch(path); err != nil {
		return nil, err
	}
	if links := p.database.id.links; links > 1 {
		return nil, errors.Join(&LinksError{Path: path, Links: links}, p.database.close())
	}
	for said := false; ; said = true {
		holder, err := mark(p.database.file)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, errMarked) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), p.database.close())
		}
		if p.unmarked = markedBy(holder, path+"-shm"); p.unmarked {
			return p, nil
		}
		if !said {
			log.Warn("another process has this database file open under another name; waiting for it to end", "pid", holder)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: process %d has the file under another name: %w", path, holder, ctx.Err()), p.database.close())
		case <-time.After(markEvery):
		}
	}
}

// LinksError is a database file that has several names.
type LinksError struct {
	Path  string
	Links uint64
}

func (e *LinksError) Error() string {
	return fmt.Sprintf("the file %s has %d names (hard links): each would have a write-ahead log of its own, and events would be lost", e.Path, e.Links)
}

// WatchWAL begins to watch the WAL and its index, which SQLite has open by now. It takes the
// mark of the database file once more: SQLite gives up all locks of a file, which are the
// process's, when it turns it to a WAL.
func (p *Place) WatchWAL() error {
	if p.Path == "" {
		return nil
	}
	wal, err := identify(p.Path + "-wal")
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wal = watched{path: p.Path + "-wal", id: wal}
	if p.shm, err = watch(p.Path + "-shm"); err != nil {
		return err
	}
	if p.unmarked {
		return nil
	}
	return p.markAll()
}

// markAll marks the database file and the WAL's index.
func (p *Place) markAll() error {
	for _, w := range []watched{p.database, p.shm} {
		if w.file == nil {
			continue
		}
		if _, err := mark(w.file); err != nil {
			return fmt.Errorf("lock %s: %w", w.path, err)
		}
	}
	return nil
}

// Stop ends the watch; SQLite may close the files then.
func (p *Place) Stop() {
	if p != nil { // OpenPlace has succeeded
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stopped = true
	}
}

// Check returns an error if a write might not be found again: the process must end then.
// Locks on the database file that were lost are taken again. It is called inside each
// write transaction, and every second by the beat.
func (p *Place) Check() error {
	if p.Path == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil
	}
	if err := p.checkLocks(); err != nil {
		return err
	}
	for _, w := range []*watched{&p.database, &p.wal, &p.shm} {
		if err := w.inPlace(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Place) checkLocks() error {
	if p.unmarked {
		p.unmarked = p.markAll() != nil
		return nil
	}
	if p.shm.file != nil && !marked(p.shm.file) {
		// Another process may have begun to rebuild the index that is mapped here.
		return fmt.Errorf("SQLite's locks on %s are gone: something in this process opened and closed the file", p.shm.path)
	}
	if marked(p.database.file) {
		return nil
	}
	p.log.Error("SQLite's locks on the database are gone: something in this process, such as a function, opened and closed the file; they are taken again",
		"file", p.Path)
	shared := syscall.Flock_t{Type: syscall.F_RDLCK, Start: sqliteShared, Len: sqliteSharedSize}
	err := syscall.FcntlFlock(p.database.file.Fd(), syscall.F_SETLK, &shared)
	if err == nil {
		_, err = mark(p.database.file)
	}
	if err != nil {
		return fmt.Errorf("SQLite's locks on %s are gone, and another process has taken them: %w", p.Path, err)
	}
	return nil
}

// Close frees the files. SQLite must have closed the files before, as its locks go too.
func (p *Place) Close() error {
	if p == nil { // OpenPlace has failed
		return nil
	}
	err := errors.Join(p.database.close(), p.shm.close())
	if p.asked != nil {
		err = errors.Join(err, p.asked.Close())
	}
	return err
}

func watch(path string) (watched, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return watched{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return watched{}, errors.Join(err, file.Close())
	}
	return watched{path, identityOf(info), file}, nil
}

func (w *watched) inPlace() error {
	if w.path == "" {
		return nil
	}
	now, err := identify(w.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !now.same(w.id):
		return fmt.Errorf("the file %s was moved, removed or replaced while it was open", w.path)
	case err == nil && now.size == 0 && w.file != nil: // a WAL may be empty
		return fmt.Errorf("the file %s was emptied while it was open", w.path)
	}
	return nil
}

func (w *watched) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// markedBy reports whether the process that has the mark of a database file has that of the
// WAL's index at path, too: so it has the file under the same name.
func markedBy(holder int, path string) bool {
	w, err := watch(path)
	if err != nil {
		return false
	}
	other, err := mark(w.file)
	return w.close() == nil && errors.Is(err, errMarked) && other == holder
}

var errMarked = errors.New("another process has it")

// mark takes the mark of a file, or returns errMarked and the process that has it.
func mark(file *os.File) (holder int, err error) {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: markByte, Len: 1}
	err = syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &lock)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		lock = syscall.Flock_t{Type: syscall.F_WRLCK, Start: markByte, Len: 1}
		if syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &lock) == nil && lock.Type != syscall.F_UNLCK {
			holder = int(lock.Pid)
		}
		return holder, errMarked
	}
	return 0, err
}
