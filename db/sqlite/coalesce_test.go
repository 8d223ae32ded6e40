package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"inturn/internal/faultvfs"
)

// watched opens a file whose pages the writer can't all keep in memory, so that a long
// transaction writes into the WAL before it commits, and reads from there again.
func watched(t *testing.T) (*DB, *faultvfs.Watched) {
	t.Helper()
	path := tempFile(t)
	v, stop, err := faultvfs.Watch(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	d := open(t, options(t, path))
	onWriter(t, d, func(w *writer) error {
		return errors.Join(w.sql("PRAGMA cache_size = 5"), w.sql("CREATE TABLE long (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"))
	})
	return d, v
}

const (
	longRows = 3000 // about 400 pages
	longSums = "SELECT count(*), coalesce(sum(id), 0), coalesce(sum(length(text)), 0) FROM long"
)

// insertLong writes rows in an order that visits each page often.
func insertLong(exec func(string) error) error {
	for from := range 10 {
		err := exec(fmt.Sprintf(`WITH RECURSIVE n(id) AS (VALUES (%d) UNION ALL SELECT id + 10 FROM n WHERE id + 10 < %d)
			INSERT INTO long SELECT id, '%s' FROM n`, from, longRows, strings.Repeat("a", 500)))
		if err != nil {
			return err
		}
	}
	return nil
}

// holdBack writes pages and reads nothing afterwards.
func holdBack(t *testing.T, w *writer) error {
	err := w.sql("INSERT INTO long VALUES (-1, hex(zeroblob(50000)))")
	if w.coalescer.n == 0 {
		t.Error("nothing is held back")
	}
	return err
}

func wantLong(t *testing.T, d *DB) {
	t.Helper()
	wantRows(t, d, longSums+" WHERE text = replace(hex(zeroblob(250)), '0', 'a')", fmt.Sprint(longRows, longRows*(longRows-1)/2, longRows*500))
}

// A commit is one write and one sync of the WAL, unless it is very long.
func TestCoalescedCommit(t *testing.T) {
	d, v := watched(t)
	appendEvent(t, d, event("c", "m0"))
	writes, syncs := v.Count(faultvfs.Write, faultvfs.WAL), v.Count(faultvfs.Sync, faultvfs.WAL)
	appendEvent(t, d, event("c", "m1"))
	if n := v.Count(faultvfs.Write, faultvfs.WAL) - writes; n != 1 {
		t.Errorf("a commit takes %d writes", n)
	}
	if n := v.Count(faultvfs.Sync, faultvfs.WAL) - syncs; n != 1 {
		t.Errorf("a commit takes %d syncs", n)
	}
}

// The WAL grows by more than a commit needs, so that the next ones find it long
// enough; where there is no room for that the commit doesn't mind.
func TestCoalescedGrowth(t *testing.T) {
	d, v := watched(t)
	size := func() int64 {
		info, err := os.Stat(d.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	was := size()
	for i := range 20 {
		appendEvent(t, d, event("c", fmt.Sprint(i)))
	}
	if size() != was || was < growBy {
		t.Errorf("%d bytes, then %d", was, size())
	}
	if err := d.committer.w.shrinkWAL(); err != nil {
		t.Fatal(err)
	}
	d.committer.w.coalescer.size = 0
	// The first write is the WAL's header.
	v.Inject(faultvfs.Fault{Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.ENOSPC, After: 1, Times: 1})
	appendEvent(t, d, event("c", "full"))
	if n := v.Clear(); n != 1 {
		t.Errorf("%d faults", n)
	}
	path := d.path
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}

// A transaction that doesn't fit in memory reads what it has written, also after a
// savepoint was undone, and others read it once it has committed.
func TestCoalescedSpill(t *testing.T) {
	d, v := watched(t)
	writes := v.Count(faultvfs.Write, faultvfs.WAL)
	onWriter(t, d, func(w *writer) error {
		if err := insertLong(w.sql); err != nil {
			return err
		}
		if n := v.Count(faultvfs.Write, faultvfs.WAL) - writes; n < 10 {
			t.Errorf("%d writes before the commit: it was to be longer than memory", n)
		}
		var rows, ids, bytes int
		if err := w.conn.QueryRowContext(background, longSums).Scan(&rows, &ids, &bytes); err != nil || rows != longRows || bytes != 500*longRows {
			t.Errorf("the transaction reads %d rows of %d bytes (%v)", rows, bytes, err)
		}
		return errors.Join(w.sql("SAVEPOINT half"), w.sql("UPDATE long SET text = 'b' || text"), w.sql("DELETE FROM long WHERE id % 3 = 0"),
			w.sql("ROLLBACK TO half"), w.sql("RELEASE half"), w.sql("UPDATE long SET text = upper(text) WHERE id % 7 = 0"),
			w.sql("UPDATE long SET text = lower(text)"))
	})
	wantLong(t, d)
	path := d.path
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}

// What was rolled back is not written once others may have written in its place.
func TestCoalescedRollback(t *testing.T) {
	d, _ := watched(t)
	other := raw(t, d.path)
	// What the rollback reads again is not in the WAL.
	if _, err := other.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	runs := 0
	onWriter(t, d, func(w *writer) error {
		if runs++; runs == 1 {
			if err := holdBack(t, w); err != nil {
				return err
			}
			go func() { // it waits for the write lock
				exec := func(text string) error {
					_, err := other.ExecContext(t.Context(), text)
					return err
				}
				wrote <- errors.Join(exec("BEGIN IMMEDIATE"), insertLong(exec), exec("COMMIT"))
			}()
		}
		select {
		case err := <-wrote:
			return errors.Join(err, w.sql("UPDATE long SET text = lower(text) WHERE id = 1"))
		default:
			return &groupError{classBusy, errors.New("rolled back, and run again")}
		}
	})
	wantLong(t, d)
	path := d.path
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}

// A write that fails while a statement reads can't be forgotten by who wrote, also
// where that statement alone is undone: the transaction doesn't commit.
func TestCoalescedFault(t *testing.T) {
	d, v := watched(t)
	runs := 0
	onWriter(t, d, func(w *writer) error {
		if runs++; runs > 1 {
			return nil
		}
		if err := errors.Join(insertLong(w.sql), holdBack(t, w)); err != nil {
			return err
		}
		v.Inject(faultvfs.Fault{Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.ENOSPC})
		defer v.Clear()
		if err := w.sql("INSERT INTO long SELECT id + 10000, text FROM long WHERE id >= 0"); err == nil {
			t.Error("a statement reads what could not be written")
		}
		return nil
	})
	if runs != 2 {
		t.Errorf("%d runs", runs)
	}
	wantRows(t, d, longSums, "0 0 0")
	appendEvent(t, d, event("c", "m"))
	path := d.path
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}
