package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"inturn/internal/faultvfs"
)

// TestCoalescedFaultInAGroup: SQLite may undo only the statement that could not read back
// what the transaction had written. The group must fail all the same, and run again.
func TestCoalescedFaultInAGroup(t *testing.T) {
	path := tempFile(t)
	v, stop, err := faultvfs.Watch(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	d := open(t, options(t, path))
	onWriter(t, d, func(w *writer) error {
		return errors.Join(w.conn.Exec("PRAGMA cache_size = 5"), w.conn.Exec("CREATE TABLE long (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"))
	})
	runs := 0
	onWriter(t, d, func(w *writer) error {
		if runs++; runs > 1 {
			return nil
		}
		for from := range 10 { // each page is visited often
			if err := w.conn.Exec(fmt.Sprintf(`WITH RECURSIVE n(id) AS (VALUES (%d) UNION ALL SELECT id + 10 FROM n WHERE id + 10 < 3000)
				INSERT INTO long SELECT id, '%s' FROM n`, from, strings.Repeat("a", 500))); err != nil {
				return err
			}
		}
		if err := w.conn.Exec("INSERT INTO long VALUES (-1, hex(zeroblob(50000)))"); err != nil {
			return err
		}
		v.Inject(faultvfs.Fault{Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.ENOSPC})
		defer v.Clear()
		if err := w.conn.Exec("INSERT INTO long SELECT id + 10000, text FROM long WHERE id >= 0"); err == nil {
			t.Error("a statement reads what could not be written")
		}
		return nil
	})
	if runs != 2 {
		t.Errorf("%d runs", runs)
	}
	wantRows(t, d, "SELECT count(*) FROM long", "0")
}
