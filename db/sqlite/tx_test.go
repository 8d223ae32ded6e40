package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"
	"pgregory.net/rapid"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

const kinds = `
CREATE TABLE loose (a, d DATE, dt DATETIME, ts timestamp, t TIME, b BOOLEAN, i INTEGER, r REAL, x TEXT, y BLOB, n NUMERIC);
CREATE TABLE tight (id INTEGER PRIMARY KEY, u TEXT UNIQUE, c INTEGER CHECK (c > 0), p INTEGER REFERENCES tight (id), s TEXT NOT NULL DEFAULT '') STRICT;
CREATE TRIGGER aborts BEFORE INSERT ON tight WHEN new.u = 'abort' BEGIN SELECT raise(ABORT, 'the trigger aborts'); END;
CREATE TRIGGER fails BEFORE INSERT ON tight WHEN new.u = 'fail' BEGIN SELECT raise(FAIL, 'the trigger fails'); END;
INSERT INTO tight (id, u, c) VALUES (1, 'one', 1);`

type queryer interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// sides runs test with an effect's Tx and the driver's connection to tables that are
// the same.
func sides(t *testing.T, test func(tx *effectTx, conn *sql.Conn)) {
	t.Helper()
	pool, err := sql.Open("sqlite", conn.MemoryDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	conn, err := pool.Conn(background)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	run(t, conn, kinds, "BEGIN")
	o := options(t, ":memory:")
	o.Tables = []db.Migration{{Function: "kinds", Version: 1, SQL: kinds}}
	onWriter(t, open(t, o), func(w *writer) error {
		tx := &effectTx{w: w}
		test(tx, conn)
		return tx.close()
	})
}

// told is an error as an effect may see it.
func told(err error) string {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return fmt.Sprintf("%v (%T, %d)", err, e, e.Code())
	}
	return fmt.Sprint(err)
}

func ran(db queryer, query string, args []any) string {
	res, err := db.ExecContext(background, query, args...)
	if err != nil {
		return told(err)
	}
	id, idErr := res.LastInsertId()
	n, nErr := res.RowsAffected()
	return fmt.Sprintln(id, idErr, n, nErr)
}

// queried is all that a statement's rows say of themselves.
func queried(db queryer, query string, args []any) string {
	rows, err := db.QueryContext(background, query, args...)
	if err != nil {
		return "query: " + told(err)
	}
	var all strings.Builder
	columns, err := rows.Columns()
	fmt.Fprintln(&all, columns, err)
	for rows.Next() {
		types, err := rows.ColumnTypes()
		fmt.Fprintln(&all, err)
		for _, c := range types {
			nullable, ok := c.Nullable()
			length, hasLength := c.Length()
			precision, scale, decimal := c.DecimalSize()
			fmt.Fprintln(&all, c.Name(), c.DatabaseTypeName(), c.ScanType(), nullable, ok, length, hasLength, precision, scale, decimal)
		}
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range dest {
			dest[i] = &values[i]
		}
		fmt.Fprintln(&all, told(rows.Scan(dest...)))
		for _, v := range values {
			fmt.Fprintf(&all, "%#v\n", v)
		}
	}
	fmt.Fprintln(&all, told(rows.Err()), told(rows.Close()), told(rows.Err()))
	var one string
	fmt.Fprintln(&all, told(db.QueryRowContext(background, query, args...).Scan(&one)), one)
	return all.String()
}

func wantSame(t interface {
	Helper()
	Errorf(string, ...any)
}, tx *effectTx, conn *sql.Conn, query string, args ...any) {
	t.Helper()
	for range 2 { // kept from the first time
		if got, want := ran(tx, query, args), ran(conn, query, args); got != want {
			t.Errorf("%s %#v:\n got %s\nwant %s", query, args, got, want)
		}
		if got, want := queried(tx, query, args), queried(conn, query, args); got != want {
			t.Errorf("%s %#v:\n got %s\nwant %s", query, args, got, want)
		}
	}
}

type odd string

// removed is an argument that takes itself away.
type removed struct{}

func (removed) Value() (driver.Value, error) { return nil, driver.ErrRemoveArgument }

type fails struct{}

func (fails) Value() (driver.Value, error) { return nil, errors.New("no value") }

// someArgs are arguments of every kind that database/sql or the driver knows or refuses.
func someArgs() []any {
	text, at := "text", time.Date(2026, 11, 28, 5, 6, 7, 89_000_000, time.UTC)
	return []any{
		nil, 1, int8(-8), uint16(16), uint64(math.MaxUint64), int64(math.MinInt64), float32(0.5), 1e300, math.NaN(), math.Inf(1), 3.0, true, false,
		"", "ä\x00b", "\xff", odd("odd"), &text, (*string)(nil), []byte(nil), []byte{}, []byte("\x00\x01"), sql.RawBytes("raw"),
		at, at.In(time.FixedZone("X", 5400)), time.Now(), time.Time{}, sql.NullString{}, sql.NullString{String: "s", Valid: true},
		sql.NullInt64{Int64: 7, Valid: true}, sql.NullTime{Time: at, Valid: true}, fails{}, removed{}, struct{}{}, []int{1}, sql.Named("a", "named"), sql.Named("", 1), sql.Named("1a", 1),
		"2026-11-28", "2026-11-28 05:06", "2026-11-28T05:06Z", "2026-11-28 05:06:07.5", "2026-11-28 05:06:07+02:00", "2026-11-28T05:06:07.000000001-01:30Z",
		"2026-11-28 05:06:07 +0000 UTC m=+1.5", "m=", "05:06:07", "Z",
	}
}

// An effect can't tell a Tx from the driver's own transaction.
func TestTxIsAsTheDriver(t *testing.T) {
	t.Run("values", func(t *testing.T) {
		sides(t, func(tx *effectTx, conn *sql.Conn) {
			for _, arg := range someArgs() {
				wantSame(t, tx, conn, "SELECT ?, typeof(?1), hex(?1)", arg)
				for _, column := range []string{"a", "d", "dt", "ts", "t", "b", "i", "r", "x", "y", "n"} {
					wantSame(t, tx, conn, "INSERT INTO loose ("+column+") VALUES (?) RETURNING *", arg)
					wantSame(t, tx, conn, "SELECT max("+column+"), "+column+" AS other, typeof("+column+") FROM loose WHERE "+column+" = ? OR ?1 IS NULL", arg)
				}
				wantSame(t, tx, conn, "DELETE FROM loose")
			}
		})
	})
	t.Run("parameters", func(t *testing.T) {
		a, b, c := sql.Named("a", "named a"), sql.Named("b", "named b"), sql.Named("ab", 3)
		sides(t, func(tx *effectTx, conn *sql.Conn) {
			for _, query := range []string{
				"SELECT 1", "SELECT ?", "SELECT ?, ?", "SELECT ?2, ?1", "SELECT ?3", "SELECT ?01", "SELECT ?1, ?, ?1", "SELECT $1, $2", "SELECT $2, $1",
				"SELECT :a", "SELECT @a, :b", "SELECT $a, ?", "SELECT ?, $a", "SELECT :ab, :a, :b", "SELECT :a, :a", "SELECT $a::b(c)", "SELECT ?1, :a", "SELECT $02",
				"SELECT ?; -- and no more", "SELECT ? ;\n",
			} {
				for _, args := range [][]any{nil, {1}, {1, "2"}, {1, "2", 3.5}, {1, 2, 3, 4, 5, 6, 7, 8, 9}, {a}, {b, a}, {a, b, c}, {1, a}, {a, 1}, {a, a}, {removed{}, 1}, {1, removed{}, b}} {
					wantSame(t, tx, conn, query, args...)
				}
			}
		})
	})
	t.Run("errors", func(t *testing.T) {
		sides(t, func(tx *effectTx, conn *sql.Conn) {
			for _, query := range []string{
				"SELECT", "SELECT nothing", "SELECT * FROM nowhere", "INSERT INTO tight VALUES (1)", "SELECT 'open", "WITH n AS (SELECT 1) SELECT * FROM m", "VALUES (1), (2)",
				"INSERT INTO tight (id, c) VALUES (1, 1)", "INSERT INTO tight (u, c) VALUES ('one', 1)", "INSERT INTO tight (c) VALUES (0)", "INSERT INTO tight (c) VALUES ('x')",
				"INSERT INTO tight (s) VALUES (NULL)", "INSERT INTO tight (u) VALUES ('abort')", "INSERT INTO tight (u) VALUES ('fail') RETURNING id", "INSERT INTO tight (p) VALUES (99)",
				"INSERT OR FAIL INTO tight (u) VALUES ('a'), ('one'), ('b')", "INSERT OR IGNORE INTO tight (u) VALUES ('one') RETURNING u", "REPLACE INTO tight (id, u) VALUES (7, 'one') RETURNING id, u",
				"UPDATE tight SET c = 5", "UPDATE tight SET c = 0 RETURNING id", "DELETE FROM tight WHERE false", "SELECT id, u FROM tight ORDER BY id",
				"SELECT abs(column1) FROM (VALUES (1), (-9223372036854775808), (2))", "SELECT json(column1) AS j FROM (VALUES ('[]'), ('{'), ('1'))",
				"SELECT zeroblob(2000000000)", "SELECT 1 WHERE false", "INSERT INTO tight (u) VALUES ('r1'), ('r2'), ('r3') RETURNING id, u", "SELECT zeroblob(0), x'', ''",
			} {
				wantSame(t, tx, conn, query)
			}
		})
	})
	t.Run("another program changes a table", func(t *testing.T) {
		sides(t, func(tx *effectTx, conn *sql.Conn) {
			for i := range 3 {
				wantSame(t, tx, conn, "SELECT * FROM tight")
				more := fmt.Sprintf("ALTER TABLE tight ADD COLUMN more%d INTEGER DEFAULT 5", i)
				run(t, conn, more)
				if err := tx.w.conn.Exec(more); err != nil {
					t.Error(err)
				}
			}
		})
	})
	t.Run("random values", func(t *testing.T) {
		sides(t, func(tx *effectTx, conn *sql.Conn) {
			rapid.Check(t, func(t *rapid.T) {
				args := rapid.SliceOfN(rapid.OneOf(
					rapid.Int64().AsAny(), rapid.Float64().AsAny(), rapid.String().AsAny(), rapid.SliceOf(rapid.Byte()).AsAny(), rapid.SampledFrom(someArgs()),
				), 11, 11).Draw(t, "args")
				wantSame(t, tx, conn, "INSERT INTO loose VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *", args...)
				wantSame(t, tx, conn, "DELETE FROM loose RETURNING n, y, x, r, i, b, t, ts, dt, d, a")
			})
		})
	})
}

// The rows of one effect's goroutine and the statements of another don't meet in SQLite
// (with -race), and a row lasts while others are read.
func TestTxIsUsedByGoroutines(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	onWriter(t, d, func(w *writer) error { // not as an effect: on a loaded machine it may take long
		tx := &effectTx{w: w}
		errs := make([]error, 6)
		var all sync.WaitGroup
		all.Go(func() {
			for n := 0; n < db.MaxEmit && errs[4] == nil; n++ {
				errs[4] = tx.Emit(event("emitted", fmt.Sprint(n)))
			}
		})
		all.Go(func() {
			var rows *sql.Rows
			if rows, errs[5] = tx.QueryContext(tx.Context(), endless+"SELECT i FROM n LIMIT 5000"); errs[5] == nil {
				_, errs[5] = readOn(rows)
			}
		})
		for g := range 4 {
			all.Go(func() {
				text := fmt.Sprint(g, strings.Repeat("x", 1000*g))
				rows, err := tx.QueryContext(tx.Context(), "SELECT ?, value FROM json_each('[1,2,3,4,5,6,7,8,9]')", text)
				for n := 1; err == nil && rows.Next(); n++ {
					var got string
					var value int
					if err = rows.Scan(&got, &value); err == nil && (got != text || value != n) {
						err = fmt.Errorf("row %d: %d, %.20s", n, value, got)
					}
					if err == nil {
						_, err = note(fmt.Sprint(g, n))(tx)
					}
				}
				errs[g] = err
			})
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		return tx.close()
	})
	if n := len(rows(t, d, noteRows)); n != 36 {
		t.Errorf("%d notes, want 36", n)
	}
}

// A statement is kept once, also where an effect runs it again, inside its own rows
// and after them.
func TestTxKeepsStatements(t *testing.T) {
	const query = "SELECT value FROM json_each('[1,2]')"
	d := open(t, options(t, ":memory:"))
	onWriter(t, d, func(w *writer) error {
		var used []*conn.Stmt
		for range 2 {
			tx := &effectTx{w: w}
			outer, err := tx.QueryContext(background, query)
			if err != nil {
				return err
			}
			for range 2 {
				got, err := lines(tx, query)
				if err != nil || !slices.Equal(got, []string{"1", "2"}) {
					t.Errorf("inside: %q, %v", got, err)
				}
			}
			if got, err := readOn(outer); err != nil || got != 2 {
				t.Errorf("outside: %d rows, %v", got, err)
			}
			if got, err := lines(tx, query); err != nil || len(got) != 2 {
				t.Errorf("after: %q, %v", got, err)
			}
			used = append(used, tx.rows[0].cursor.Stmt(), tx.rows[3].cursor.Stmt())
			if inner := tx.rows[1].cursor.Stmt(); inner == used[0] {
				t.Error("a statement ran inside its own rows")
			}
			if err := tx.close(); err != nil {
				return err
			}
		}
		if used = slices.Compact(used); len(used) != 1 || used[0] != w.effectStmts[query] || used[0].Open {
			t.Errorf("%d statements of one text", len(used))
		}
		return nil
	})
}

func readOn(rows *sql.Rows) (n int, err error) {
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

// TestEmitReceipt: the receipt of what is emitted says what the file has.
func TestEmitReceipt(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		ran, dead := appendEvent(t, d, event("e", "ran")), appendEvent(t, d, event("f", "dead"))
		settle(t, d, done(ran, nil), db.Settlement{Event: dead, Status: db.Dead, Error: "why"})
		c := appendEvent(t, d, event("c", "m1"))
		var got []string
		settle(t, d, done(c, func(tx db.Tx) (any, error) {
			got = nil
			for _, ev := range []db.Event{event("e", "new"), event("e", "new"), event("e", "ran"), event("f", "dead"), event("c", "m1")} {
				r, err := tx.EmitReceipt(ev)
				got = append(got, fmt.Sprint(r.ClientID, " ", r.MessageID, " ", r.Seq, " ", r.Duplicate, " ", r.State, " ", r.Result, " ", err))
			}
			other := event("e", "new")
			other.Payload = []byte(`{"n":2}`)
			_, err := tx.EmitReceipt(other)
			got = append(got, fmt.Sprint(err))
			return nil, nil
		}))
		want := []string{
			"e new 4 false pending <nil> <nil>", "e new 4 true pending <nil> <nil>", "e ran 1 true done <nil> <nil>", "f dead 2 true dead <nil> <nil>",
			"c m1 3 true pending <nil> <nil>", "this message_id was used for another payload, type or deliver_at (seq 4)",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
