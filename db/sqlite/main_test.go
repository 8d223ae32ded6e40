package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"inturn/db"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/conn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds a wait for what must come; it is no measure of speed.
const patience = 30 * time.Second

// testTables are a function's tables with every kind of trouble in them.
const testTables = `
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE notes (
  id     INTEGER PRIMARY KEY,
  text   TEXT NOT NULL UNIQUE,
  parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED
);
CREATE TRIGGER refuse BEFORE INSERT ON notes WHEN new.text = 'raise' BEGIN
  SELECT raise(ROLLBACK, 'the trigger rolls back');
END;`

func options(t testing.TB, path string) Options {
	return Options{Path: path, Tables: []db.Migration{{Function: "notes", Version: 1, SQL: testTables}}}
}

func open(t testing.TB, o Options) *DB {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func tempFile(t testing.TB) string { return filepath.Join(t.TempDir(), "inturn.db") }

// forEach runs a test on a database in memory and on one in a file.
func forEach(t *testing.T, test func(t *testing.T, d *DB)) {
	t.Helper()
	forEachWith(t, 0, test)
}

// forEachHurried is forEach for tests that wait until an effect has taken too long.
func forEachHurried(t *testing.T, test func(t *testing.T, d *DB)) {
	t.Helper()
	forEachWith(t, 300*time.Millisecond, test)
}

func forEachWith(t *testing.T, maxEffect time.Duration, test func(t *testing.T, d *DB)) {
	t.Helper()
	opened := func(t *testing.T, path string) *DB {
		o := options(t, path)
		o.MaxEffect = maxEffect
		return open(t, o)
	}
	t.Run("memory", func(t *testing.T) { t.Parallel(); test(t, opened(t, ":memory:")) })
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		d := opened(t, tempFile(t))
		test(t, d)
		path := d.path
		if err := d.Close(); err != nil && d.Err() == nil {
			t.Errorf("close: %v", err)
		}
		if !t.Failed() {
			wantSound(t, path)
		}
	})
}

func wantSound(t *testing.T, path string, invariants ...db.Invariant) {
	t.Helper()
	violations, err := file.Verify(context.Background(), path, invariants)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, v := range violations {
		t.Errorf("violation %s: %s", v.Kind, v.Detail)
	}
}

func event(client, message string) db.Event {
	return db.Event{ClientID: client, MessageID: message, Type: "note", Payload: json.RawMessage(`{"n":1}`), RequestID: "r-" + message}
}

func appendEvent(t testing.TB, d *DB, ev db.Event) db.Event {
	t.Helper()
	r, err := d.Append(context.Background(), ev)
	if err != nil {
		t.Fatalf("append %s %s: %v", ev.ClientID, ev.MessageID, err)
	}
	if r.Duplicate {
		t.Fatalf("append %s %s: a repeat", ev.ClientID, ev.MessageID)
	}
	ev.Seq, ev.Position, ev.Run, ev.Attempt = r.Seq, r.Seq, 1, 1
	return ev
}

func done(ev db.Event, effect db.Effect) db.Settlement {
	return db.Settlement{Event: ev, Status: db.Done, Effect: effect, StartedAt: time.UnixMicro(1000)}
}

func settle(t testing.TB, d *DB, items ...db.Settlement) {
	t.Helper()
	if n, err := d.Settle(items); n != len(items) || err != nil {
		t.Fatalf("settle: %d of %d, %v", n, len(items), err)
	}
}

// note is an effect that writes one row and returns its text.
func note(text string) db.Effect {
	return func(tx db.Tx) (any, error) {
		_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES (?)", text)
		return text, err
	}
}

// rows returns what a query gives, a line a row, from the file as the writer sees it.
func rows(t testing.TB, d *DB, query string, args ...any) []string {
	t.Helper()
	d.guard.Lock()
	defer d.guard.Unlock()
	list, err := lines(d.queryer(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return list
}

func lines(db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(context.Background(), query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var list []string
	for rows.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		list = append(list, strings.TrimSuffix(fmt.Sprintln(values...), "\n"))
	}
	return list, rows.Err()
}

func wantRows(t testing.TB, d *DB, query string, want ...string) {
	t.Helper()
	if got := rows(t, d, query); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", query, got, want)
	}
}

// raw opens a second connection as any other program would.
func raw(t testing.TB, path string) *sql.Conn {
	t.Helper()
	pool, err := sql.Open("sqlite", conn.FileDSN(path, map[string][]string{"_busy_timeout": {"10000"}}))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); pool.Close() })
	return conn
}

func run(t testing.TB, conn *sql.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := conn.ExecContext(context.Background(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

func wait(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
	}
}

// gate is an operation that holds the committer until it is opened, so that what is
// submitted meanwhile becomes one group.
type gate struct {
	operation
	entered, leave chan struct{}
}

func newGate() *gate {
	g := &gate{entered: make(chan struct{}), leave: make(chan struct{})}
	g.RetriedWhenFull = true
	g.Work = workFunc(func(*writer) error {
		close(g.entered)
		<-g.leave
		return nil
	})
	return g
}

// together submits ops so that they are taken as one group, and waits for all.
func together(t testing.TB, d *DB, ops ...any) {
	t.Helper()
	g := newGate()
	submit(t, d, g)
	wait(t, "the gate", g.entered)
	for _, op := range ops {
		if err := d.committer.Submit(opOf(op)); err != nil {
			close(g.leave)
			t.Fatal(err)
		}
	}
	close(g.leave)
	for _, op := range ops {
		wait(t, "an operation's end", opOf(op).Ended())
	}
}

// submit queues an operation.
func submit(t testing.TB, d *DB, op any) {
	t.Helper()
	if err := d.committer.Submit(opOf(op)); err != nil {
		t.Fatal(err)
	}
}

// opOf returns the operation that op is, or has in it.
func opOf(op any) *operation {
	switch op := op.(type) {
	case *operation:
		return op
	case *settleOp:
		return &op.operation
	case *appendOp:
		return &op.operation
	case *batchOp:
		return &op.operation
	case *commandOp:
		return &op.operation
	case *gate:
		return &op.operation
	}
	panic(fmt.Sprintf("opOf: %T", op))
}

func settling(items ...db.Settlement) *settleOp {
	return newSettle(items)
}

// appending is never refused for being late, however slow the machine or its group is.
func appending(ev db.Event) *appendOp {
	op := newAppend(ev)
	op.Began = time.Now().Add(patience)
	return op
}
