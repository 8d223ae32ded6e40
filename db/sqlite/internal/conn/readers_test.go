package conn

import (
	"context"
	"errors"
	"sync"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
)

func mutex(c *Conn) uintptr { return sqlite3.Xsqlite3_db_mutex(c.tls, c.db) }

// A connection gives its mutex back when it is closed, and readers have none.
func TestDisableMutex(t *testing.T) {
	path := tempFile(t)
	c := open(t, WriteDSN(path))
	exec(t, c, tables)
	was := mutex(c)
	if err := c.DisableMutex(); err != nil || mutex(c) != 0 || c.HasMutex() {
		t.Errorf("%v, mutex %#x", err, mutex(c))
	}
	if _, err := takeMutex(c.tls, c.db); err == nil {
		t.Error("what has no mutex gave one")
	}
	exec(t, c, "CREATE TABLE alone (x)")
	c.restoreMutex()
	if now := mutex(c); now != was {
		t.Errorf("afterwards the mutex is %#x, was %#x", now, was)
	}
	pool, err := Readers(path, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	one, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := New(one, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if reader.HasMutex() {
		t.Error("a reader locks for each call")
	}
}

// Readers without SQLite's mutex are interrupted and used again by others.
func TestReadersAreInterrupted(t *testing.T) {
	path := tempFile(t)
	c := open(t, WriteDSN(path))
	exec(t, c, tables)
	const maxReaders = 8
	pool, err := Readers(path, maxReaders)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var all sync.WaitGroup
	for range 4 * maxReaders {
		all.Go(func() {
			for i := range 3 {
				ctx, cancel := context.WithCancel(t.Context())
				rows, err := pool.QueryContext(ctx, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
				if err != nil {
					t.Error(err)
				} else {
					for k := 0; k < i && rows.Next(); k++ {
					}
					go cancel()
					for rows.Next() {
					}
					if err := rows.Err(); !errors.Is(err, context.Canceled) && code(err) != sqlite3.SQLITE_INTERRUPT {
						t.Errorf("an endless query ended with %v", err)
					}
					rows.Close()
				}
				cancel()
				var n int
				if err := pool.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox").Scan(&n); err != nil || n != 0 {
					t.Errorf("afterwards: %d, %v", n, err)
				}
			}
		})
	}
	all.Wait()
}
