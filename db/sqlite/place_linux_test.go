package sqlite

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// A file that is taken away, and a lost lock on the WAL's index, are noticed before
// anything more is answered, and the process must end.
func TestFilesTakenAway(t *testing.T) {
	remove := func(suffix string) func(string) error {
		return func(path string) error { return os.Remove(path + suffix) }
	}
	for name, take := range map[string]func(path string) error{
		"the file":           remove(""),
		"the WAL":            remove("-wal"),
		"its index":          remove("-shm"),
		"the file's content": func(path string) error { return os.Truncate(path, 0) },
		"a WAL with another in its place": func(path string) error {
			return errors.Join(os.Rename(path+"-wal", path+"-wal.moved"), os.WriteFile(path+"-wal", nil, 0o600))
		},
		"the index, opened and closed": func(path string) error {
			_, err := os.ReadFile(path + "-shm")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, options(t, tempFile(t)))
			appendEvent(t, d, event("a", "1"))
			if err := take(d.path); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Append(t.Context(), event("a", "2")); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("append: %v", err)
			}
			<-d.Failed()
			if err := d.Err(); err == nil || !strings.Contains(err.Error(), d.path) {
				t.Errorf("the reason: %v", err)
			}
			before, serr := os.Stat(d.path + "-wal")
			d.Close()
			if after, err := os.Stat(d.path + "-wal"); serr == nil && (err != nil || after.Size() != before.Size()) {
				t.Errorf("the WAL after Close: %v", err)
			}
		})
	}
}

// The beat notices it where nothing is written.
func TestFilesTakenAwayWhileIdle(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	if err := os.Remove(d.path + "-wal"); err != nil {
		t.Fatal(err)
	}
	<-d.Failed()
}

// sharedLocked asks, with a lock of an open file description (F_OFD_GETLK, fcntl(2)),
// whether some process has SQLite's shared lock on a database file.
func sharedLocked(f *os.File) bool {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 0x40000000 + 2, Len: 510}
	return syscall.FcntlFlock(f.Fd(), 36, &lock) == nil && lock.Type != syscall.F_UNLCK
}

// A function that reads the database's file takes SQLite's locks away from its process.
func TestLocksAreTakenAgain(t *testing.T) {
	var log bytes.Buffer
	o := options(t, tempFile(t))
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	d := open(t, o)
	observer, err := os.Open(d.path) // stays open for as long as the database, as its end would drop the locks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); observer.Close() })
	if !sharedLocked(observer) {
		t.Fatal("SQLite has no lock on the file")
	}
	if _, err := os.ReadFile(d.path); err != nil {
		t.Fatal(err)
	}
	if sharedLocked(observer) {
		t.Fatal("the locks are still there")
	}
	appendEvent(t, d, event("a", "1"))
	if !sharedLocked(observer) {
		t.Error("the locks were not taken again before the answer")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "taken again") {
		t.Errorf("the log says\n%s", log.String())
	}
}

func TestSecondNameIsRefused(t *testing.T) {
	path := tempFile(t)
	d := open(t, options(t, path))
	other := path + ".link"
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), options(t, other))
	if _, ok := errors.AsType[*file.LinksError](err); !ok {
		t.Errorf("the second name: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options(t, path)); err == nil {
		t.Error("the first name is opened although there is a second")
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	open(t, options(t, path))
}

// TestAnswered: an older copy in the file's place is found out by check and at the
// start, and the seqs of what it lacks are not given out again.
func TestAnswered(t *testing.T) {
	path := tempFile(t)
	d := open(t, options(t, path))
	appendEvent(t, d, event("a", "1"))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d = open(t, options(t, path))
	var last db.Event
	for _, id := range []string{"2", "3", "4"} {
		last = appendEvent(t, d, event("a", id))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	const lacks = "the file lacks 3 events that were answered (seq 2 to 4)"
	found, err := file.Verify(t.Context(), path, nil)
	if err != nil || len(found) != 1 || found[0].Kind != "lost" || !strings.Contains(found[0].Detail, lacks) {
		t.Errorf("check: %v, %v", found, err)
	}
	var log bytes.Buffer
	o := options(t, path)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	d = open(t, o)
	if !strings.Contains(log.String(), lacks) {
		t.Errorf("the start says\n%s", log.String())
	}
	if next := appendEvent(t, d, event("a", "5")); next.Seq <= last.Seq {
		t.Errorf("seq %d after %d", next.Seq, last.Seq)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}
