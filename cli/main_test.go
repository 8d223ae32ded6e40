package cli

import (
	"bytes"
	"database/sql"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newIO returns an IO and what is written to it.
func newIO() (IO, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return IO{Out: &out, Err: &err}, &out, &err
}

// newFile makes a database with the engine's schema and returns a handle for
// writing to it, as the server would.
func newFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	schema, err := os.ReadFile(filepath.Join("..", "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	handle, err := sql.Open("sqlite", "file:"+path+"?_journal_mode=WAL&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
	handle.SetMaxOpenConns(1)
	mustExec(t, handle, string(schema))
	return handle
}

func mustExec(t *testing.T, handle *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := handle.Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", cut(statement, 80), err)
	}
}

// discardLog is for servers that are made to fail on purpose.
var discardLog = log.New(io.Discard, "", 0)
