package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// bare is a connection with the engine's tables and nothing of the engine.
func bare(t testing.TB) *conn.Conn {
	t.Helper()
	pool, err := sql.Open("sqlite", conn.MemoryDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	one, err := pool.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	c, err := conn.New(one, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Exec(schema); err != nil {
		t.Fatal(err)
	}
	return c
}

// The writer of a file does without SQLite's mutex, and one in memory, which readers
// share, doesn't.
func TestAlone(t *testing.T) {
	if open(t, options(t, tempFile(t))).w.conn.HasMutex() {
		t.Error("the writer of a file locks for each call")
	}
	if !open(t, options(t, ":memory:")).w.conn.HasMutex() {
		t.Error("the connection in memory, which readers share, has no mutex")
	}
}

// Each parameter of a hot statement has a value of its own, as in TestQueries.
func TestHotStatements(t *testing.T) {
	c := bare(t)
	s, err := prepareHot(c)
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
		if got, err := lines(c.SQL, query); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v, want %s", query, got, err, want)
		}
	}
	changed(1)(s.insertOutbox(q.InsertOutboxParams{Seq: 21, ClientID: "c", MessageID: "m", Type: "t", Payload: "p", ReceivedAt: 22, RequestID: "r", Attrs: text("a")}))
	changed(0)(s.insertOutbox(q.InsertOutboxParams{Seq: 99, ClientID: "c", MessageID: "m"}))
	changed(1)(s.insertOutbox(q.InsertOutboxParams{Seq: 23, ClientID: "c", MessageID: "n"}))
	want("SELECT *, attrs IS NULL FROM outbox ORDER BY seq", "[21 c m t p 22 r a 0 23 c n   0  <nil> 1]")
	for _, c := range []struct {
		p    q.RepeatedParams
		want int64
	}{
		{q.RepeatedParams{Type: "t", Payload: "p", ClientID: "c", MessageID: "m"}, 21},
		{q.RepeatedParams{Type: "u", Payload: "p", ClientID: "c", MessageID: "m"}, -21},
		{q.RepeatedParams{Type: "t", Payload: "p ", ClientID: "c", MessageID: "m"}, -21},
		{q.RepeatedParams{Type: "t", Payload: "p", DeliverAt: sql.NullInt64{Int64: 1, Valid: true}, ClientID: "c", MessageID: "m"}, -21},
		{q.RepeatedParams{ClientID: "c", MessageID: "n"}, 23},
	} {
		if seq, err := s.findRepeated(c.p); seq != c.want || err != nil {
			t.Errorf("%+v: seq %d, %v, want %d", c.p, seq, err, c.want)
		}
	}
	if seq, err := s.findRepeated(q.RepeatedParams{Type: "t", Payload: "p", ClientID: "d", MessageID: "m"}); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("an identity that is not there: %d, %v", seq, err)
	}
	changed(0)(0, s.insertPending(q.InsertPendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))
	want("SELECT * FROM lanes", "[c 31 32 33]")
	for _, p := range []q.DeletePendingParams{{ClientID: "d", Turn: 31, Seq: 32, Run: 33}, {ClientID: "c", Seq: 32, Run: 33}, {ClientID: "c", Turn: 31, Run: 33}, {ClientID: "c", Turn: 31, Seq: 32}} {
		changed(0)(s.deletePending(p))
	}
	changed(1)(s.deletePending(q.DeletePendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))
	for _, p := range []q.InsertPendingParams{{ClientID: "c", Turn: 40, Seq: 40, Run: 1}, {ClientID: "c", Turn: 41, Seq: 40, Run: 2}, {ClientID: "c", Turn: 42, Seq: 42, Run: 1}, {ClientID: "c", Turn: 43, Seq: 43, Run: 1}} {
		changed(0)(0, s.insertPending(p))
	}
	for _, p := range []q.DeletePendingRangeParams{{ClientID: "d", First: 40, Last: 43}, {ClientID: "c", First: 44, Last: 50}, {ClientID: "c", First: 30, Last: 39}, {ClientID: "c", First: 41, Last: 41}} {
		changed(0)(s.deletePendingRange(p))
	}
	changed(2)(s.deletePendingRange(q.DeletePendingRangeParams{ClientID: "c", First: 40, Last: 42}))
	want("SELECT * FROM lanes", "[c 41 40 2 c 43 43 1]")
	changed(0)(0, s.insertResult(q.InsertResultParams{Seq: 21, Run: 51, Turn: 52, Settled: 53, Status: "dead", Attempts: 54, StartedAt: 55, FinishedAt: 56, Output: text("o"), Error: text("e")}))
	want("SELECT * FROM results", "[21 51 52 53 dead 54 55 56 o e]")
	for range 2 {
		changed(0)(0, s.insertHistory(q.InsertHistoryParams{ClientID: "c", Seq: 21}))
	}
	changed(1)(s.insertOutbox(q.InsertOutboxParams{Seq: 24})) // empty is not NULL
	want("SELECT * FROM history", "[c 21]")
}
