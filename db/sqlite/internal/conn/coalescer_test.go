package conn

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"inturn/internal/faultvfs"
)

// watched opens a file whose pages the connection can't all keep in memory, so that a
// long transaction writes into the WAL before it commits, and reads from there again.
func watched(t *testing.T) (c *Conn, path string, v *faultvfs.Watched) {
	t.Helper()
	path = tempFile(t)
	v, stop, err := faultvfs.Watch(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c = open(t, WriteDSN(path))
	if err := errors.Join(c.UseWAL(), c.Exec("CREATE TABLE long (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"), shrink(c), c.CoalesceWAL(),
		c.Exec("PRAGMA cache_size = 5")); err != nil {
		t.Fatal(err)
	}
	return c, path, v
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
func holdBack(t *testing.T, c *Conn) error {
	err := c.Exec("INSERT INTO long VALUES (-1, hex(zeroblob(50000)))")
	if c.coalescer.n == 0 {
		t.Error("nothing is held back")
	}
	return err
}

// another opens the file as any other program would.
func another(t *testing.T, path string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("sqlite", FileDSN(path, map[string][]string{"_busy_timeout": {"10000"}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	pool.SetMaxOpenConns(1)
	return pool
}

// wantLong wants the long rows, and a file that is sound, as another program sees it.
func wantLong(t *testing.T, path, sums string) {
	t.Helper()
	pool := another(t, path)
	defer pool.Close()
	var rows, ids, bytes int
	err := pool.QueryRowContext(t.Context(), longSums+" WHERE text = replace(hex(zeroblob(250)), '0', 'a')").Scan(&rows, &ids, &bytes)
	if got := fmt.Sprint(rows, ids, bytes); err != nil || got != sums {
		t.Errorf("rows, ids and bytes are %s (%v), want %s", got, err, sums)
	}
	var sound string
	if err := pool.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("integrity: %q, %v", sound, err)
	}
}

var allLong = fmt.Sprint(longRows, longRows*(longRows-1)/2, longRows*500)

// one commits one small row.
func one(t *testing.T, c *Conn, id int) {
	t.Helper()
	if err := errors.Join(c.Begin(), c.Exec(fmt.Sprintf("INSERT INTO long VALUES (%d, 'one')", -id)), c.Commit()); err != nil {
		t.Fatal(err)
	}
}

// A commit is one write and one sync of the WAL, unless it is very long.
func TestCoalescedCommit(t *testing.T) {
	c, _, v := watched(t)
	one(t, c, 1)
	writes, syncs := v.Count(faultvfs.Write, faultvfs.WAL), v.Count(faultvfs.Sync, faultvfs.WAL)
	one(t, c, 2)
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
	c, path, v := watched(t)
	size := func() int64 {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	one(t, c, 1)
	was := size()
	for i := range 20 {
		one(t, c, i+2)
	}
	if size() != was || was < growBy {
		t.Errorf("%d bytes, then %d", was, size())
	}
	if err := shrink(c); err != nil {
		t.Fatal(err)
	}
	c.coalescer.size = 0
	// The first write is the WAL's header.
	v.Inject(faultvfs.Fault{Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.ENOSPC, After: 1, Times: 1})
	one(t, c, 100)
	if n := v.Clear(); n != 1 {
		t.Errorf("%d faults", n)
	}
	wantLong(t, path, "0 0 0")
}

// A transaction that doesn't fit in memory reads what it has written, also after a
// savepoint was undone, and others read it once it has committed.
func TestCoalescedSpill(t *testing.T) {
	c, path, v := watched(t)
	writes := v.Count(faultvfs.Write, faultvfs.WAL)
	if err := errors.Join(c.Begin(), insertLong(c.Exec)); err != nil {
		t.Fatal(err)
	}
	if n := v.Count(faultvfs.Write, faultvfs.WAL) - writes; n < 10 {
		t.Errorf("%d writes before the commit: it was to be longer than memory", n)
	}
	var rows, ids, bytes int
	if err := c.SQL.QueryRowContext(background, longSums).Scan(&rows, &ids, &bytes); err != nil || rows != longRows || bytes != 500*longRows {
		t.Errorf("the transaction reads %d rows of %d bytes (%v)", rows, bytes, err)
	}
	exec(t, c, "SAVEPOINT half", "UPDATE long SET text = 'b' || text", "DELETE FROM long WHERE id % 3 = 0", "ROLLBACK TO half", "RELEASE half",
		"UPDATE long SET text = upper(text) WHERE id % 7 = 0", "UPDATE long SET text = lower(text)")
	if err := c.Commit(); err != nil {
		t.Fatal(err)
	}
	wantLong(t, path, allLong)
}

// What was rolled back is not written once others may have written in its place.
func TestCoalescedRollback(t *testing.T) {
	c, path, _ := watched(t)
	other := another(t, path)
	// What the rollback reads again is not in the WAL.
	if _, err := other.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	if err := errors.Join(c.Begin(), holdBack(t, c)); err != nil {
		t.Fatal(err)
	}
	go func() { // it waits for the write lock
		exec := func(text string) error {
			_, err := other.ExecContext(t.Context(), text)
			return err
		}
		wrote <- errors.Join(exec("BEGIN IMMEDIATE"), insertLong(exec), exec("COMMIT"))
	}()
	if err := c.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Begin(), c.Exec("UPDATE long SET text = lower(text) WHERE id = 1"), c.Commit()); err != nil {
		t.Fatal(err)
	}
	wantLong(t, path, allLong)
}

// A write that fails while a statement reads can't be forgotten by who wrote, also
// where that statement alone is undone: the transaction doesn't commit.
func TestCoalescedFault(t *testing.T) {
	c, path, v := watched(t)
	if err := errors.Join(c.Begin(), insertLong(c.Exec), holdBack(t, c)); err != nil {
		t.Fatal(err)
	}
	v.Inject(faultvfs.Fault{Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.ENOSPC})
	if err := c.Exec("INSERT INTO long SELECT id + 10000, text FROM long WHERE id >= 0"); err == nil {
		t.Error("a statement reads what could not be written")
	}
	v.Clear()
	if err := c.Commit(); err == nil {
		t.Error("the transaction commits")
	}
	if err := c.Rollback(); err != nil {
		t.Fatal(err)
	}
	wantLong(t, path, "0 0 0")
	one(t, c, 1)
	wantLong(t, path, "0 0 0")
}

func shrink(c *Conn) error {
	_, err := c.ShrinkWAL()
	return err
}
