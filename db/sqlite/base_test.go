package sqlite

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"inturn/db/sqlite/file"
)

// copyTo copies files as another process would: this one keeps its locks on them.
func copyTo(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A WAL beside a file that it doesn't continue is refused before SQLite applies it, and both
// stay as they are. Beside its own file, at any time between two checkpoints, it is taken.
func TestWALOfAnotherFile(t *testing.T) {
	kept := t.TempDir()
	keep := func(from, name string) string {
		copyTo(t, from, filepath.Join(kept, name))
		return filepath.Join(kept, name)
	}
	path := tempFile(t)
	d := open(t, options(t, path))
	appendEvent(t, d, event("a", "1"))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	closed := keep(path, "closed")
	d = open(t, options(t, path))
	appendEvent(t, d, event("a", "2"))
	started, startedWAL := keep(path, "started"), keep(path+"-wal", "started-wal")
	appendMany(t, d) // until the WAL is moved, and begun anew
	grown, grownWAL := keep(path, "grown"), keep(path+"-wal", "grown-wal")
	appendEvent(t, d, event("a", "last"))
	lastWAL := keep(path+"-wal", "last-wal")

	otherPath := tempFile(t)
	other := open(t, options(t, otherPath))
	appendEvent(t, other, event("b", "1"))
	otherFile, otherWAL := keep(otherPath, "other"), keep(otherPath+"-wal", "other-wal")
	foreign := filepath.Join(kept, "foreign")
	pool := raw(t, foreign)
	run(t, pool, "CREATE TABLE a (b)")
	pool.Close()

	for _, c := range []struct {
		name, file, wal string
		refused         bool
		events          int
	}{
		{"its own", started, startedWAL, false, 2},
		{"its own, begun anew", grown, grownWAL, false, 26},
		{"its own, and longer", grown, lastWAL, false, 27},
		{"an older copy of before the start", closed, lastWAL, true, 0},
		{"an older copy of before a checkpoint", started, lastWAL, true, 0},
		{"an older WAL", grown, startedWAL, true, 0},
		{"another database's WAL", grown, otherWAL, true, 0},
		{"another database", otherFile, lastWAL, true, 0},
		{"another program's database", foreign, lastWAL, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := tempFile(t)
			copyTo(t, c.file, path)
			copyTo(t, c.wal, path+"-wal")
			before := contents(t, path) + contents(t, path+"-wal")
			if c.refused {
				if _, _, err := file.Compact(t.Context(), path, file.CopyOptions{}); !errors.Is(err, file.ErrWALOfAnother) {
					t.Errorf("Compact: %v", err)
				}
				if _, err := Open(t.Context(), options(t, path)); !errors.Is(err, file.ErrWALOfAnother) {
					t.Errorf("Open: %v", err)
				}
				if after := contents(t, path) + contents(t, path+"-wal"); after != before {
					t.Error("the file or its WAL was changed")
				}
				return
			}
			d := open(t, options(t, path))
			wantRows(t, d, "SELECT count(*) FROM outbox", fmt.Sprint(c.events))
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			wantSound(t, path)
		})
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// appendMany appends 24 events, which together are longer than a WAL that is moved.
func appendMany(t *testing.T, d *DB) {
	t.Helper()
	for i := range 24 {
		ev := event("a", fmt.Sprint("big", i))
		ev.Payload = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
		appendEvent(t, d, ev)
	}
}

// While a reader keeps a part of the WAL from the file, the file stays what its WAL continues.
func TestBaseBehindAReader(t *testing.T) {
	path := tempFile(t)
	d := open(t, options(t, path))
	reader := raw(t, path)
	run(t, reader, "BEGIN; SELECT count(*) FROM owner")
	appendMany(t, d)
	again := tempFile(t)
	copyTo(t, path, again)
	copyTo(t, path+"-wal", again+"-wal")
	run(t, reader, "ROLLBACK")
	wantRows(t, open(t, options(t, again)), "SELECT count(*) FROM outbox", "24")
}
