package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// made makes a valid file with a few events and returns its path.
func made(t testing.TB) string {
	t.Helper()
	path := tempFile(t)
	d := open(t, options(t, path))
	c1 := appendEvent(t, d, event("c", "m1"))
	appendEvent(t, d, event("c", "m2"))
	settle(t, d, done(c1, note("c1")))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenRefuses(t *testing.T) {
	sqlOn := func(texts ...string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			conn := raw(t, path)
			run(t, conn, texts...)
			conn.Close()
		}
	}
	tests := []struct {
		name  string
		make  func(t *testing.T) string
		spoil func(t *testing.T, path string)
		is    error
		says  string
	}{
		{"a newer file", func(t *testing.T) string { return made(t) }, sqlOn("PRAGMA user_version = 99"), nil, "newer version"},
		{"a file without a version", func(t *testing.T) string { return made(t) }, sqlOn("PRAGMA user_version = 0"), db.ErrForeign, "another program"},
		{"another program's file", anew, sqlOn("CREATE TABLE theirs (a)", "INSERT INTO theirs VALUES (1)"), nil, "another program"},
		{"another program's mark on an empty file", anew, sqlOn("PRAGMA application_id = 7"), nil, "another program"},
		{"a text", anew, func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("not a database\n"), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, db.ErrCorrupt, "damaged"},
		{"a damaged schema", func(t *testing.T) string { return made(t) }, func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			clear(b[100:4096])
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, db.ErrCorrupt, "damaged"},
		{"a file without its owner", func(t *testing.T) string { return made(t) }, sqlOn("DELETE FROM owner"), nil, "owner"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := test.make(t)
			test.spoil(t, path)
			_, err := os.Lstat(path + ".lock")
			locked := err == nil // it has been inturn's
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Open(t.Context(), options(t, path))
			if err == nil {
				d.Close()
				t.Fatal("it opens")
			}
			if test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("told %v", err)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, after) {
				t.Error("the refused file was changed")
			}
			if _, err := os.Lstat(path + ".lock"); err == nil && !locked {
				t.Error("a lock is left beside the refused file")
			}
		})
	}
}

func anew(t *testing.T) string { return tempFile(t) }

func TestFolderThatCanNotBeMade(t *testing.T) {
	file := tempFile(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options(t, filepath.Join(file, "sub", "inturn.db"))); err == nil {
		t.Error("it opens below a file")
	}
	if _, err := Open(t.Context(), options(t, t.TempDir())); err == nil {
		t.Error("it opens a folder")
	}
}

func TestPathsAndModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for _, name := range []string{"a b", "a?mode=memory", "a#b", "a%3fb%", "a&b=c;d", "ä'\"", "file:x"} {
		dir := filepath.Join(t.TempDir(), "new "+name, "sub")
		path := filepath.Join(dir, name+".db")
		d, err := Open(t.Context(), options(t, path))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		appendEvent(t, d, event("c", "m"))
		for file, mode := range map[string]fs.FileMode{
			filepath.Dir(dir): 0o700, dir: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
		} {
			if info, err := os.Stat(file); err != nil {
				t.Error(err)
			} else if info.Mode().Perm() != mode {
				t.Errorf("%s has mode %v, want %v", file, info.Mode().Perm(), mode)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		wantSound(t, path)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), name+".db") {
				t.Errorf("%q also made %q", name, e.Name())
			}
		}
	}
}

// TestSettings: each connection has what its comment says.
func TestSettings(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "250", "cache_size": "-65536",
		"wal_autocheckpoint": "0", "journal_size_limit": "67108864", "trusted_schema": "0", "user_version": fmt.Sprint(file.SchemaVersion), "application_id": "1768846453",
	} {
		onWriter(t, d, func(w *writer) error {
			got, err := lines(w.conn.SQL, "PRAGMA "+pragma)
			if err == nil && !slices.Equal(got, []string{want}) {
				t.Errorf("writer: %s is %v, want %s", pragma, got, want)
			}
			return err
		})
	}
	for pragma, want := range map[string]string{"query_only": "1", "busy_timeout": "5000", "trusted_schema": "0"} {
		if got, err := lines(d.readers, "PRAGMA "+pragma); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("reader: %s is %v, %v, want %s", pragma, got, err, want)
		}
	}
}

func TestOpenReadOnly(t *testing.T) {
	path := tempFile(t)
	if _, err := file.OpenReadOnly(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := file.Verify(t.Context(), path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("verify a file that is not there: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("reading has made the file")
	}
	d := open(t, options(t, path))
	appendEvent(t, d, event("c", "m"))
	pool, err := file.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if got, err := lines(pool, "SELECT state FROM events"); err != nil || !slices.Equal(got, []string{"pending"}) {
		t.Errorf("beside a server: %v, %v", got, err)
	}
	for _, text := range []string{"DELETE FROM outbox", "PRAGMA user_version = 7", "PRAGMA query_only = 0; DELETE FROM outbox", "CREATE TABLE a (b)"} {
		if _, err := pool.ExecContext(t.Context(), text); err == nil {
			t.Errorf("%q gets through", text)
		}
	}
	wantRows(t, d, outboxRows, `1 c m note {"n":1} r-m - 1`)
}

// TestSecondOpenWaits, and takes over when the first closes.
func TestSecondOpenWaits(t *testing.T) {
	path := tempFile(t)
	first := open(t, options(t, path))
	appendEvent(t, first, event("c", "m1"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, options(t, path)); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "held by") {
		t.Errorf("open while another has it: %v", err)
	}
	waits := newWaiting()
	o := options(t, path)
	o.Log = slog.New(waits)
	second := make(chan *DB, 1)
	go func() {
		d, err := Open(context.Background(), o)
		if err != nil {
			t.Error(err)
		}
		second <- d
	}()
	wait(t, "the second's notice", waits.said)
	appendEvent(t, first, event("c", "m2")) // the first is not disturbed
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	d := <-second
	defer d.Close()
	accounts, _, unclean := d.Backlog()
	if unclean || len(accounts) != 1 || accounts[0].Events != 2 {
		t.Errorf("taken over: %v, unclean %v", accounts, unclean)
	}
	if ev := appendEvent(t, d, event("c", "m3")); ev.Seq != 3 {
		t.Errorf("seq %d", ev.Seq)
	}
}

// waiting is a log that signals its first warning.
type waiting struct {
	slog.Handler
	said chan struct{}
}

func newWaiting() *waiting { return &waiting{slog.DiscardHandler, make(chan struct{}, 1000)} }

func (w *waiting) Enabled(context.Context, slog.Level) bool { return true }
func (w *waiting) Handle(context.Context, slog.Record) error {
	select {
	case w.said <- struct{}{}:
	default:
	}
	return nil
}

// TestLostLockEndsTheProcess although nothing was written meanwhile.
func TestLostLockEndsTheProcess(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	d.lost(db.ErrFenced)
	wait(t, "Failed", d.Failed())
	if !errors.Is(d.Err(), db.ErrFenced) {
		t.Error(d.Err())
	}
	if err := d.Close(); !errors.Is(err, db.ErrFenced) {
		t.Error(err)
	}
}

func TestFunctionTables(t *testing.T) {
	path := tempFile(t)
	one, two := db.Migration{Function: "f", Version: 1, SQL: "CREATE TABLE f (a INTEGER) STRICT; INSERT INTO f VALUES (1)"}, db.Migration{Function: "f", Version: 2, SQL: "ALTER TABLE f ADD COLUMN b INTEGER; UPDATE f SET b = a + 1"}
	try := func(tables ...db.Migration) error {
		d, err := Open(t.Context(), Options{Path: path, Tables: tables})
		if err != nil {
			return err
		}
		return d.Close()
	}
	want := func(want ...string) {
		t.Helper()
		conn := raw(t, path)
		defer conn.Close()
		if got, err := lines(conn, "SELECT *, (SELECT group_concat(function || version) FROM function_tables) FROM f"); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if err := try(one); err != nil {
		t.Fatal(err)
	}
	want("1 f1")
	if err := try(one); err != nil { // not twice
		t.Fatal(err)
	}
	for _, bad := range []string{"COMMIT", "COMMIT; BEGIN IMMEDIATE", "CREATE TABLE g (a); COMMIT; CREATE TABLE h (a)", "UPDATE f SET a = 2; ROLLBACK; UPDATE f SET a = 3",
		"UPDATE f SET nowhere = 1"} {
		if err := try(one, db.Migration{Function: "f", Version: 2, SQL: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
		want("1 f1")
		conn := raw(t, path)
		if got, err := lines(conn, "SELECT count(*) FROM sqlite_schema WHERE name IN ('g', 'h')"); err != nil || fmt.Sprint(got) != "[0]" {
			t.Errorf("%q left a table: %v, %v", bad, got, err)
		}
		conn.Close()
	}
	if err := try(one, two); err != nil {
		t.Fatal(err)
	}
	want("1 2 f2")
	if err := try(one); err == nil || !strings.Contains(err.Error(), "this binary knows 1") {
		t.Errorf("an older binary: %v", err)
	}
	if err := try(); err != nil { // without the function its tables stay
		t.Fatal(err)
	}
	want("1 2 f2")
	wantSound(t, path)
}

// TestLinkedFile: by whatever name, it is one file with one lock.
func TestLinkedFile(t *testing.T) {
	path := made(t)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	d := open(t, options(t, link))
	if d.path != path {
		t.Errorf("path is %s", d.path)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, options(t, path)); !errors.Is(err, context.Canceled) {
		t.Errorf("open by the other name: %v", err)
	}
}

// TestFileTakenAway: nothing is acknowledged into a file that nobody will find.
func TestFileTakenAway(t *testing.T) {
	takes := map[string]func(path string) error{
		"removed": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
	}
	for name, take := range takes {
		t.Run(name, func(t *testing.T) {
			d := open(t, options(t, tempFile(t)))
			a := appendEvent(t, d, event("a", "m"))
			if err := take(d.path); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Append(t.Context(), event("b", "m")); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("append: %v", err)
			}
			if _, err := d.Settle([]db.Settlement{done(a, nil)}); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("settle: %v", err)
			}
			wait(t, "Failed", d.Failed())
			if err := d.Close(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("close: %v", err)
			}
		})
	}
}
