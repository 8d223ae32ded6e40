package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
	"pgregory.net/rapid"

	"inturn/db/sqlite/internal/q"
)

// bare is a connection with the engine's tables and nothing of the engine.
func bare(t *testing.T) (*sql.Conn, *handle) {
	t.Helper()
	pool, err := sql.Open("sqlite", memoryDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	conn, err := pool.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.ExecContext(background, schema); err != nil {
		t.Fatal(err)
	}
	h, err := newHandle(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return conn, h
}

// Each parameter of a hot statement has a value of its own, as in TestQueries.
func TestHotStatements(t *testing.T) {
	conn, h := bare(t)
	s, err := h.prepareHot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	changed := func(want int64) func(n int64, err error) {
		return func(n int64, err error) {
			t.Helper()
			if err != nil || n != want {
				t.Errorf("%d rows, %v, want %d", n, err, want)
			}
		}
	}
	want := func(query, want string) {
		t.Helper()
		if got, err := lines(conn, query); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v, want %s", query, got, err, want)
		}
	}
	changed(1)(s.insertOutbox(q.InsertOutboxParams{Seq: 21, ClientID: "c", MessageID: "m", Type: "t", Payload: "p", ReceivedAt: 22, RequestID: "r", Attrs: text("a")}))
	changed(0)(s.insertOutbox(q.InsertOutboxParams{Seq: 99, ClientID: "c", MessageID: "m"}))
	changed(1)(s.insertOutbox(q.InsertOutboxParams{Seq: 23, ClientID: "c", MessageID: "n"}))
	want("SELECT *, attrs IS NULL FROM outbox ORDER BY seq", "[21 c m t p 22 r a 0 23 c n   0  <nil> 1]")
	changed(0)(0, s.insertPending(q.InsertPendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))
	want("SELECT * FROM lanes", "[c 31 32 33]")
	for _, p := range []q.DeletePendingParams{{ClientID: "d", Turn: 31, Seq: 32, Run: 33}, {ClientID: "c", Seq: 32, Run: 33}, {ClientID: "c", Turn: 31, Run: 33}, {ClientID: "c", Turn: 31, Seq: 32}} {
		changed(0)(s.deletePending(p))
	}
	changed(1)(s.deletePending(q.DeletePendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))
	changed(0)(0, s.insertResult(q.InsertResultParams{Seq: 21, Run: 51, Turn: 52, Settled: 53, Status: "dead", Attempts: 54, StartedAt: 55, FinishedAt: 56, Output: text("o"), Error: text("e")}))
	want("SELECT * FROM results", "[21 51 52 53 dead 54 55 56 o e]")
	for range 2 {
		changed(0)(0, s.fileEvent(q.FileEventParams{ClientID: "c", Seq: 21}))
	}
	h.forgetTexts()
	changed(1)(s.insertOutbox(q.InsertOutboxParams{Seq: 24})) // empty is not NULL
	want("SELECT * FROM history", "[c 21]")
}

// An error is the driver's to the letter, and the statement goes on afterwards.
func TestStmtErrors(t *testing.T) {
	conn, h := bare(t)
	for _, c := range []struct {
		text   string
		values []value
		args   []any
	}{
		{"INSERT INTO lanes VALUES (?, ?, 1, 1)", []value{textValue("a"), intValue(1)}, []any{"a", 1}},
		{"INSERT INTO results (seq, status) VALUES (?, ?)", []value{intValue(1), textValue("odd")}, []any{1, "odd"}},
		{"INSERT INTO outbox (seq, client_id) VALUES (?, ?)", []value{textValue("no number"), {kind: 5}}, []any{"no number", nil}},
		{"COMMIT", nil, nil},
	} {
		s, err := h.prepare(c.text)
		if err != nil {
			t.Fatal(err)
		}
		s.exec(c.values...) // of lanes the first is good
		for range 2 {
			_, err = s.exec(c.values...)
			_, driver := conn.ExecContext(background, c.text, c.args...)
			if err == nil || driver == nil || err.Error() != driver.Error() || code(err) != code(driver) {
				t.Errorf("%s: %v (%d), the driver says %v (%d)", c.text, err, code(err), driver, code(driver))
			}
		}
		if c.text[0] == 'I' && strings.Contains(c.text, "lanes") {
			if n, err := s.exec(textValue("b"), intValue(1)); n != 1 || err != nil {
				t.Errorf("after an error: %d, %v", n, err)
			}
		}
		s.close()
	}
	if s, err := h.prepare("INSERT INTO nowhere VALUES (1)"); err == nil || !strings.Contains(err.Error(), "no such table") {
		s.close()
		t.Errorf("no such table: %v", err)
	}
}

// What goes in comes out, whatever its length and its bytes, also when long texts
// follow short ones: their memory is used again.
func TestStmtValues(t *testing.T) {
	conn, h := bare(t)
	if _, err := conn.ExecContext(background, "CREATE TABLE kept (a TEXT, n INTEGER, b TEXT) STRICT"); err != nil {
		t.Fatal(err)
	}
	s, err := h.prepare("INSERT INTO kept VALUES (?, ?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	long := strings.Repeat("0123456789\x00ä", 20_000)
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.String().Draw(t, "a")
		n := rapid.Int64().Draw(t, "n")
		b := sql.NullString{String: long[:rapid.IntRange(0, len(long)).Draw(t, "length of b")], Valid: rapid.Bool().Draw(t, "valid")}
		if !b.Valid {
			b.String = ""
		}
		if changed, err := s.exec(textValue(a), intValue(n), nullable(b)); changed != 1 || err != nil {
			t.Fatal(changed, err)
		}
		var gotA string
		var gotN int64
		var gotB sql.NullString
		if err := conn.QueryRowContext(background, "DELETE FROM kept RETURNING a, n, b").Scan(&gotA, &gotN, &gotB); err != nil {
			t.Fatal(err)
		}
		if gotA != a || gotN != n || gotB != b {
			t.Fatalf("%q %d, %d bytes (%v) came out of %q %d, %d bytes (%v)", gotA, gotN, len(gotB.String), gotB.Valid, a, n, len(b.String), b.Valid)
		}
		if len(h.texts) > keptTexts && len(a)+len(b.String) <= keptTexts {
			t.Fatalf("%d bytes are kept", len(h.texts))
		}
	})
}

// The writer of a file does without SQLite's mutex, and one in memory, which readers
// share, doesn't.
func TestAlone(t *testing.T) {
	mutex := func(h *handle) uintptr { return sqlite3.Xsqlite3_db_mutex(h.tls, h.db) }
	if h := open(t, options(t, tempFile(t))).committer.w.handle; mutex(h) != 0 {
		t.Error("the writer of a file locks for each call")
	}
	if h := open(t, options(t, ":memory:")).committer.w.handle; mutex(h) == 0 {
		t.Error("the connection in memory, which readers share, has no mutex")
	}
	d := open(t, options(t, tempFile(t)))
	reader, err := d.readers.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if h, err := newHandle(reader); err != nil || mutex(h) != 0 {
		t.Errorf("a reader locks for each call (%v)", err)
	}
	conn, h := bare(t)
	was := mutex(h)
	alone, err := newHandle(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.alone(); err != nil || mutex(h) != 0 {
		t.Errorf("%v, mutex %#x", err, mutex(h))
	}
	if err := h.alone(); err == nil {
		t.Error("what has no mutex gave one")
	}
	run(t, conn, "CREATE TABLE alone (x)")
	alone.close()
	if now := mutex(h); now != was {
		t.Errorf("after close the mutex is %#x, was %#x", now, was)
	}
}

// Readers without SQLite's mutex are interrupted and used again by others.
func TestReadersAreInterrupted(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	var all sync.WaitGroup
	for range 4 * maxReaders {
		all.Go(func() {
			for i := range 3 {
				ctx, cancel := context.WithCancel(t.Context())
				rows, err := d.readers.QueryContext(ctx, endless+"SELECT i FROM n")
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
				if err := d.readers.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox").Scan(&n); err != nil || n != 0 {
					t.Errorf("afterwards: %d, %v", n, err)
				}
			}
		})
	}
	all.Wait()
}
