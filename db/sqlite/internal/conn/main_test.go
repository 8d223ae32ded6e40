package conn

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"
)

// open opens a connection that writes.
func open(t *testing.T, dsn string) *Conn {
	t.Helper()
	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	one, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(one, func(time.Duration) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tempFile(t *testing.T) string { return filepath.Join(t.TempDir(), "a.db") }

func exec(t *testing.T, c *Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := c.Exec(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}
