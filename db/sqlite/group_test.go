package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

const endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "

// bad is an effect that must not settle, and what its caller is told.
type bad struct {
	name   string
	effect func(db.Tx) (any, error)
	is     error  // errors.Is, or
	says   string // part of the error's text
}

func badEffects() []bad {
	exec := func(tx db.Tx, query string, args ...any) error {
		_, err := tx.ExecContext(tx.Context(), query, args...)
		return err
	}
	own := errors.New("an error of its own")
	return []bad{
		{name: "its own error after writes", is: own, effect: func(tx db.Tx) (any, error) {
			return nil, errors.Join(exec(tx, "INSERT INTO notes (text) VALUES ('bad')"), own)
		}},
		{name: "a failing constraint", says: "UNIQUE", effect: func(tx db.Tx) (any, error) {
			return nil, errors.Join(exec(tx, "INSERT INTO notes (id, text) VALUES (1, 'bad')"), exec(tx, "INSERT INTO notes (id, text) VALUES (1, 'bad2')"))
		}},
		{name: "OR ROLLBACK", says: "ended the transaction", effect: func(tx db.Tx) (any, error) {
			exec(tx, "INSERT INTO notes (id, text) VALUES (1, 'bad')")
			return nil, exec(tx, "INSERT OR ROLLBACK INTO notes (id, text) VALUES (1, 'bad2')")
		}},
		{name: "OR ROLLBACK swallowed, then writes", says: "ended the transaction", effect: func(tx db.Tx) (any, error) {
			exec(tx, "INSERT INTO notes (id, text) VALUES (1, 'bad')")
			exec(tx, "INSERT OR ROLLBACK INTO notes (id, text) VALUES (1, 'bad2')")
			exec(tx, "INSERT INTO notes (text) VALUES ('bad3')")
			tx.Emit(event("bad", "emitted"))
			return "fine", nil
		}},
		{name: "OR ROLLBACK in a query, swallowed", says: "ended the transaction", effect: func(tx db.Tx) (any, error) {
			var id int64
			exec(tx, "INSERT INTO notes (id, text) VALUES (1, 'bad')")
			tx.QueryRowContext(tx.Context(), "INSERT OR ROLLBACK INTO notes (id, text) VALUES (1, 'bad2') RETURNING id").Scan(&id)
			exec(tx, "INSERT INTO notes (text) VALUES ('bad3')")
			return id, nil
		}},
		{name: "a trigger that rolls back, swallowed", says: "the trigger rolls back", effect: func(tx db.Tx) (any, error) {
			exec(tx, "INSERT INTO notes (text) VALUES ('raise')")
			exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
			return nil, nil
		}},
		{name: "a transaction that ended unseen", says: "transaction has ended", effect: func(tx db.Tx) (any, error) {
			tx.(*effectTx).w.conn.Exec("ROLLBACK") // as SQLite itself may while rows are read
			exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
			return nil, nil
		}},
		{name: "a transaction that ended unseen, then Emit", says: "transaction has ended", effect: func(tx db.Tx) (any, error) {
			tx.(*effectTx).w.conn.Exec("ROLLBACK")
			tx.Emit(event("bad", "emitted"))
			return nil, nil
		}},
		{name: "a COMMIT that gets through", says: "constraint failed", effect: func(tx db.Tx) (any, error) {
			exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
			err := tx.(*effectTx).w.conn.Exec("COMMIT")
			tx.(*effectTx).w.conn.Exec("INSERT INTO notes (text) VALUES ('bad2')")
			return nil, err
		}},
		{name: "half an emit, swallowed", says: "insert account", effect: func(tx db.Tx) (any, error) {
			tx.(*effectTx).w.conn.Exec("CREATE TRIGGER half BEFORE INSERT ON accounts BEGIN SELECT raise(ABORT, 'no more'); END")
			tx.Emit(event("bad", "emitted"))
			return "fine", nil
		}},
		{name: "a deferred foreign key", says: "FOREIGN KEY", effect: func(tx db.Tx) (any, error) {
			return nil, exec(tx, "INSERT INTO notes (text, parent) VALUES ('bad', 99)")
		}},
		{name: "a panic", says: "panic: oh", effect: func(tx db.Tx) (any, error) {
			exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
			panic("oh")
		}},
		{name: "Goexit", is: errGoexit, effect: func(tx db.Tx) (any, error) {
			exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
			tx.QueryContext(tx.Context(), "SELECT 1 UNION SELECT 2") // its rows would hold the connection
			runtime.Goexit()
			return nil, nil
		}},
		{name: "a result that can't be JSON", says: "unsupported value", effect: func(tx db.Tx) (any, error) {
			return math.NaN(), exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
		}},
		{name: "a result whose marshalling panics", says: "panic: marshal", effect: func(tx db.Tx) (any, error) {
			return panics{}, exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
		}},
		{name: "a result that is too large", says: "more than", effect: func(tx db.Tx) (any, error) {
			return strings.Repeat("x", db.MaxOutput), exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
		}},
		{name: "rows left open, and an error", is: own, effect: func(tx db.Tx) (any, error) {
			exec(tx, "INSERT INTO notes (text) VALUES ('bad')")
			rows, err := tx.QueryContext(tx.Context(), "INSERT INTO notes (text) VALUES ('bad1'), ('bad2') RETURNING id")
			if err == nil {
				rows.Next()
			}
			return nil, errors.Join(err, own)
		}},
		{name: "more events than it may emit", says: "may emit", effect: func(tx db.Tx) (any, error) {
			for range db.MaxEmit {
				if err := tx.Emit(db.Event{}); err == nil { // counts too, and takes no time
					return nil, errors.New("an event without anything was taken")
				}
			}
			return nil, tx.Emit(event("bad", "one more"))
		}},
		{name: "its own error with a code of its own", is: status(522), effect: func(tx db.Tx) (any, error) {
			return nil, errors.Join(exec(tx, "INSERT INTO notes (text) VALUES ('bad')"), status(522))
		}},
	}
}

// status is an error of another world than SQLite's, where 522 is one of the disk's.
type status int

func (s status) Error() string { return fmt.Sprintf("the other side answers %d", s) }
func (s status) Code() int     { return int(s) }

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("marshal") }

// slowEffects take longer than MaxEffect.
func slowEffects() []bad {
	return []bad{
		{name: "endless SQL in Exec", effect: func(tx db.Tx) (any, error) {
			_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text) "+endless+"SELECT max(i) FROM n")
			return nil, err
		}},
		{name: "endless SQL in Exec, swallowed", effect: func(tx db.Tx) (any, error) {
			tx.ExecContext(tx.Context(), "INSERT INTO notes (text) "+endless+"SELECT max(i) FROM n")
			tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES ('bad')")
			return nil, nil
		}},
		{name: "endless SQL in QueryRow", effect: func(tx db.Tx) (any, error) {
			var n int
			return nil, tx.QueryRowContext(tx.Context(), endless+"SELECT count(*) FROM n").Scan(&n)
		}},
		{name: "endless rows", effect: func(tx db.Tx) (any, error) {
			rows, err := tx.QueryContext(tx.Context(), endless+"SELECT i FROM n")
			if err != nil {
				return nil, err
			}
			for rows.Next() {
			}
			return nil, nil
		}},
		{name: "endless SQL in one Next", effect: func(tx db.Tx) (any, error) {
			rows, err := tx.QueryContext(tx.Context(), endless+"SELECT i FROM n WHERE i IN (1, -1)")
			if err != nil {
				return nil, err
			}
			for rows.Next() {
			}
			return nil, nil
		}},
		{name: "an endless loop of small statements", effect: func(tx db.Tx) (any, error) {
			for {
				if _, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES (random())"); err != nil {
					return nil, err
				}
			}
		}},
		{name: "an endless loop of emits of one event", effect: func(tx db.Tx) (any, error) {
			for {
				if err := tx.Emit(event("bad", "same")); errors.Is(err, db.ErrEffectTooSlow) {
					return nil, err
				}
			}
		}},
	}
}

// wantNeighbours runs one group with a bad effect in the middle: everything else in
// it commits, the caller of the bad one is told, and no trace of it is left.
func wantNeighbours(t *testing.T, d *DB, b bad) {
	t.Helper()
	a, x, c, h := appendEvent(t, d, event("a", "m")), appendEvent(t, d, event("x", "m")),
		appendEvent(t, d, event("c", "m")), appendEvent(t, d, event("h", "m"))
	before, middle, after := settling(done(a, note("a"))), settling(done(x, b.effect)), settling(done(c, note("c")))
	held := holding(&db.Hold{Event: h, Attempts: 1, NextAt: time.UnixMicro(1), Error: "e"})
	added := appending(event("d", "m"))
	together(t, d, before, middle, after, held, added)
	for i, op := range []*operation{opOf(before), opOf(after), opOf(held), opOf(added)} {
		if op.Err != nil {
			t.Errorf("neighbour %d: %v", i, op.Err)
		}
	}
	if middle.Done != 0 || middle.Err == nil || b.is != nil && !errors.Is(middle.Err, b.is) || !strings.Contains(middle.Err.Error(), b.says) {
		t.Errorf("the bad one: settled %d, told %q", middle.Done, middle.Err)
	}
	wantRows(t, d, noteRows, "a", "c")
	wantRows(t, d, pendingRows, "d 5 5 1", "h 4 4 1", "x 2 2 1")
	wantRows(t, d, "SELECT seq FROM results ORDER BY seq", "1", "3")
	wantRows(t, d, "SELECT client_id, message_id FROM outbox ORDER BY seq", "a m", "x m", "c m", "h m", "d m")
	wantRows(t, d, counterRows, "6 3")
	settle(t, d, done(x, note("x"))) // and the next attempt may be good
	wantRows(t, d, noteRows, "a", "c", "x")
	if err := d.Err(); err != nil {
		t.Errorf("the storage has failed: %v", err)
	}
}

func TestBadEffects(t *testing.T) {
	for _, b := range badEffects() {
		t.Run(b.name, func(t *testing.T) {
			forEach(t, func(t *testing.T, d *DB) { wantNeighbours(t, d, b) })
		})
	}
}

func TestSlowEffects(t *testing.T) {
	t.Parallel()
	for _, b := range slowEffects() {
		b.is = db.ErrEffectTooSlow
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			forEachHurried(t, func(t *testing.T, d *DB) { wantNeighbours(t, d, b) })
		})
	}
}

// TestStuckEffect: one that never returns is left behind, and can write nothing
// when it comes back.
func TestStuckEffect(t *testing.T) {
	t.Parallel()
	forEachHurried(t, func(t *testing.T, d *DB) {
		release, late := make(chan struct{}), make(chan error, 3)
		calls := 0
		wantNeighbours(t, d, bad{is: db.ErrEffectTooSlow, effect: func(tx db.Tx) (any, error) {
			calls++
			tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES ('bad')")
			open, _ := tx.QueryContext(tx.Context(), "SELECT 1 UNION SELECT 2")
			<-release
			open.Next()
			_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES ('late')")
			late <- err
			late <- tx.Emit(event("bad", "late"))
			late <- open.Close()
			return nil, nil
		}})
		close(release)
		if err := <-late; !errors.Is(err, errTxOver) {
			t.Errorf("a write after its time: %v", err)
		}
		if err := <-late; !errors.Is(err, errTxOver) {
			t.Errorf("an emit after its time: %v", err)
		}
		<-late
		if calls != 1 {
			t.Errorf("it was called %d times: each costs everyone two seconds", calls)
		}
		wantRows(t, d, noteRows, "a", "c", "x")
	})
}

// TestTwoBadOnesInAGroup: every bad one is told its own error, whatever the others did.
func TestTwoBadOnesInAGroup(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var ops []any
		var kinds []bad
		for i, b := range badEffects() {
			if i%2 == 0 && b.says == "" {
				continue
			}
			kinds = append(kinds, b)
			client := string(rune('A' + i))
			ops = append(ops, settling(done(appendEvent(t, d, event(client, "bad")), b.effect)),
				settling(done(appendEvent(t, d, event(client+client, "good")), note(client))), appending(event(client, "added")))
		}
		together(t, d, ops...)
		for i, b := range kinds {
			worst, good, added := ops[3*i].(*settleOp), ops[3*i+1].(*settleOp), ops[3*i+2].(*appendOp)
			if worst.Done != 0 || worst.Err == nil || !strings.Contains(worst.Err.Error(), b.says) {
				t.Errorf("%s: settled %d, %v", b.name, worst.Done, worst.Err)
			}
			if good.Done != 1 || good.Err != nil || added.Err != nil || added.seq == 0 {
				t.Errorf("the neighbours of %s: settled %d, %v; append %d, %v", b.name, good.Done, good.Err, added.seq, added.Err)
			}
		}
		if got := rows(t, d, noteRows); len(got) != len(kinds) {
			t.Errorf("notes %q", got)
		}
	})
}

// TestBadInASlice: what was worked ahead of the bad one is settled, and what stands behind it
// is pending, whether lanes has the events or not.
func TestBadInASlice(t *testing.T) {
	for _, b := range badEffects() {
		for flushed, state := range []string{"not flushed", "two flushed", "being flushed", "flushed"} {
			t.Run(b.name+"/"+state, func(t *testing.T) {
				forEach(t, func(t *testing.T, d *DB) {
					var items []db.Settlement
					for i, effect := range []db.Effect{note("1"), note("2"), b.effect, note("4")} {
						items = append(items, done(appendEvent(t, d, event("s", string(rune('1'+i)))), effect))
					}
					switch flushed {
					case 1:
						flush(t, d, 0, appended{1, "s"}, appended{2, "s"})
						flush(t, d, 2)
					case 2, 3:
						flush(t, d, 0, appended{1, "s"}, appended{2, "s"}, appended{3, "s"}, appended{4, "s"})
						if flushed == 3 {
							flush(t, d, 4)
						}
					}
					n, err := d.Settle(items)
					if n != 2 || err == nil || !strings.Contains(err.Error(), b.says) {
						t.Errorf("settled %d, %v", n, err)
					}
					wantRows(t, d, noteRows, "1", "2")
					wantRows(t, d, pendingRows, "s 3 3 1", "s 4 4 1")
				})
			})
		}
	}
}

// TestSliceEndsTogether: the runs of a slice that lanes has are taken out with one statement,
// which takes nothing of another account, and nothing at all where one of the runs has ended.
func TestSliceEndsTogether(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var all []appended
		var items []db.Settlement
		for i := range 6 {
			for _, client := range []string{"a", "s", "z"} {
				ev := appendEvent(t, d, event(client, string(rune('1'+i))))
				all = append(all, appended{ev.Seq, client})
				if client == "s" {
					items = append(items, done(ev, note(ev.MessageID)))
				}
			}
		}
		flush(t, d, 0, all...)
		flush(t, d, 18)
		settle(t, d, items[:2]...)
		wantRows(t, d, "SELECT count(*) FROM lanes WHERE client_id <> 's'", "12")
		wantRows(t, d, "SELECT turn FROM lanes WHERE client_id = 's'", "8", "11", "14", "17")

		for _, verb := range []db.Verb{db.Cancel, db.Redrive} { // its first run has no result then that would be in the way
			if _, err := d.Execute(t.Context(), db.Command{Verb: verb, ClientID: "s", Seq: items[3].Event.Seq}); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := d.Settle(items[2:]); n != 1 || !errors.Is(err, db.ErrSuperseded) {
			t.Errorf("settled %d, %v", n, err)
		}
		wantRows(t, d, "SELECT turn, run FROM lanes WHERE client_id = 's'", "14 1", "17 1", "19 2")
		other := items[5]
		other.Event.Run = 2
		if n, err := d.Settle([]db.Settlement{items[4], other}); n != 1 || !errors.Is(err, db.ErrSuperseded) {
			t.Errorf("with another run: settled %d, %v", n, err)
		}
		wantRows(t, d, noteRows, "1", "2", "3", "5")
		wantRows(t, d, "SELECT count(*) FROM pending WHERE client_id = 's'", "2")
	})
}

// TestGoodEffects may look strange and must work.
func TestGoodEffects(t *testing.T) {
	tests := []struct {
		name   string
		effect db.Effect
		notes  []string
	}{
		{"a swallowed constraint, then writes", func(tx db.Tx) (any, error) {
			note("one")(tx)
			if _, err := note("one")(tx); err == nil {
				return nil, errors.New("a second row was taken")
			}
			return note("two")(tx)
		}, []string{"one", "two"}},
		{"rows left open", func(tx db.Tx) (any, error) {
			rows, err := tx.QueryContext(tx.Context(), "INSERT INTO notes (text) VALUES ('one'), ('two') RETURNING id")
			if err == nil && !rows.Next() {
				err = errors.New("no row")
			}
			return nil, err
		}, []string{"one", "two"}},
		{"a row never scanned", func(tx db.Tx) (any, error) {
			tx.QueryRowContext(tx.Context(), "INSERT INTO notes (text) VALUES ('one') RETURNING id")
			return nil, nil
		}, []string{"one"}},
		{"a query inside its own rows", func(tx db.Tx) (any, error) {
			const query = "SELECT value FROM json_each(?) ORDER BY 1"
			outer, err := tx.QueryContext(tx.Context(), query, `["a","b"]`)
			if err != nil {
				return nil, err
			}
			for outer.Next() {
				var o, i string
				if err := outer.Scan(&o); err != nil {
					return nil, err
				}
				inner, err := tx.QueryContext(tx.Context(), query, `["1","2"]`)
				if err != nil {
					return nil, err
				}
				for inner.Next() {
					if err := inner.Scan(&i); err != nil {
						return nil, err
					}
					if _, err := note(o + i)(tx); err != nil {
						return nil, err
					}
				}
			}
			return nil, outer.Err()
		}, []string{"a1", "a2", "b1", "b2"}},
		{"a deferred foreign key that is made good", func(tx db.Tx) (any, error) {
			_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text, parent) VALUES ('child', 7)")
			_, err2 := tx.ExecContext(tx.Context(), "INSERT INTO parent VALUES (7)")
			return nil, errors.Join(err, err2)
		}, []string{"child"}},
		{"no rows", func(tx db.Tx) (any, error) {
			var n int
			if err := tx.QueryRowContext(tx.Context(), "SELECT 1 WHERE false").Scan(&n); !errors.Is(err, sql.ErrNoRows) {
				return nil, errors.Join(err, errors.New("want sql.ErrNoRows"))
			}
			return nil, nil
		}, nil},
		{"an ended context of its own", func(tx db.Tx) (any, error) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := tx.ExecContext(ctx, "INSERT INTO notes (text) VALUES ('one')")
			return nil, err
		}, []string{"one"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			forEach(t, func(t *testing.T, d *DB) {
				settle(t, d, done(appendEvent(t, d, event("c", "m")), test.effect))
				wantRows(t, d, noteRows, test.notes...)
			})
		})
	}
}

// TestTxAfterItsEffect: a Tx that was kept is dead.
func TestTxAfterItsEffect(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var kept db.Tx
		settle(t, d, done(appendEvent(t, d, event("c", "m")), func(tx db.Tx) (any, error) { kept = tx; return nil, nil }))
		var n int
		_, execErr := kept.ExecContext(kept.Context(), "INSERT INTO notes (text) VALUES ('late')")
		_, queryErr := kept.QueryContext(kept.Context(), "SELECT 1")
		for _, err := range []error{execErr, queryErr, kept.QueryRowContext(kept.Context(), "SELECT 1").Scan(&n), kept.Emit(event("c", "late"))} {
			if !errors.Is(err, errTxOver) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := kept.PrepareContext(kept.Context(), "SELECT 1"); err == nil {
			t.Error("it prepares")
		}
		wantRows(t, d, noteRows)
	})
}

// TestKeptStatementsAreBounded where the texts are made of values.
func TestKeptStatementsAreBounded(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	const each = 100 // texts of one effect, to stay well below MaxEffect
	for i := range maxEffectStmts/each + 2 {
		settle(t, d, done(appendEvent(t, d, event("c", fmt.Sprint(i))), func(tx db.Tx) (any, error) {
			for j := range each {
				if _, err := tx.ExecContext(tx.Context(), fmt.Sprintf("DELETE FROM notes WHERE id = %d", i*each+j)); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}))
	}
	onWriter(t, d, func(w *writer) error {
		if n := len(w.effectStmts); n > maxEffectStmts {
			t.Errorf("%d statements are kept", n)
		}
		return nil
	})
}
