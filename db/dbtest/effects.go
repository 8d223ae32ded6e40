package dbtest

import (
	"errors"
	"fmt"
	"strings"

	"inturn/db"
)

var errPlannedEffect = errors.New("planned")

// effectsCases are the cases of promise 4: effects exactly once.
var effectsCases = []testCase{
	{"an effect that fails leaves nothing, and its event pending", func(s *suite) {
		e := s.open(Options{})
		s.settle(e, doneWith(s.accept(e, event("a", "0")), note("a", "there")))
		ev := s.accept(e, event("a", "1"))
		fails := func(what string, effect db.Effect, check func(error) bool) {
			s.Helper()
			n, err := e.Settle([]db.Settlement{doneWith(ev, func(tx db.Tx) (any, error) {
				if _, err := note("a", "never")(tx); err != nil {
					return nil, err
				}
				return effect(tx)
			})})
			if n != 0 || !check(err) {
				s.Errorf("%s: %d, %v", what, n, err)
			}
		}
		fails("an error", func(db.Tx) (any, error) { return nil, errPlannedEffect }, func(err error) bool { return errors.Is(err, errPlannedEffect) })
		fails("a panic", func(db.Tx) (any, error) { panic("planned") }, func(err error) bool {
			p, ok := errors.AsType[*db.PanicError](err)
			return ok && p.Value == "planned"
		})
		fails("a constraint", note("a", "there"), func(err error) bool { return err != nil })
		fails("a result that is no JSON", func(db.Tx) (any, error) { return func() {}, nil }, func(err error) bool { return err != nil })
		fails("a result that is too long", func(db.Tx) (any, error) { return strings.Repeat("x", db.MaxOutput), nil }, func(err error) bool { return err != nil })
		s.wantNotes(e, "there")
		s.wantPending(e, "a", "1")
		s.settle(e, doneWith(ev, note("a", "at last")))
		s.wantNotes(e, "at last", "there")
		s.closed(e)
	}},
	{"a failing effect ends its slice and leaves what came before", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 4)
		n, err := e.Settle([]db.Settlement{
			doneWith(evs[0], note("a", "1")), doneWith(evs[1], note("a", "2")),
			doneWith(evs[2], func(db.Tx) (any, error) { return nil, errPlannedEffect }), doneWith(evs[3], note("a", "4")),
		})
		if n != 2 || !errors.Is(err, errPlannedEffect) {
			s.Errorf("%d, %v", n, err)
		}
		s.wantNotes(e, "1", "2")
		s.wantPending(e, "a", "3", "4")
	}},
	{"an effect sees what those before it wrote", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 2)
		s.settle(e, doneWith(evs[0], note("a", "first")), doneWith(evs[1], func(tx db.Tx) (any, error) {
			rows, err := tx.QueryContext(tx.Context(), "SELECT text FROM notes WHERE client_id = ?1", "a")
			if err != nil {
				return nil, err
			}
			defer rows.Close()
			var got []string
			for rows.Next() {
				var text string
				if err := rows.Scan(&text); err != nil {
					return nil, err
				}
				got = append(got, text)
			}
			return got, rows.Err()
		}))
		if r := s.find(e, "a", "2").Result; string(r.Output) != `["first"]` {
			s.Errorf("it read %s", r.Output)
		}
	}},
	{"what an effect emits is accepted if and only if it commits", func(s *suite) {
		e := s.open(Options{})
		handed := make(chan db.Event, 10)
		e.OnAppend(func(events []db.Event) {
			for _, ev := range events {
				handed <- ev
			}
		})
		ev := s.accept(e, event("a", "1"))
		<-handed
		emits := func(fails error) db.Effect {
			return func(tx db.Tx) (any, error) {
				for range 2 { // the second is a repeat
					if err := tx.Emit(db.Event{ClientID: "b", MessageID: "of 1", Type: "note", Payload: []byte(`{ "n": 2 }`)}); err != nil {
						return nil, err
					}
				}
				return nil, fails
			}
		}
		if n, err := e.Settle([]db.Settlement{doneWith(ev, emits(errPlannedEffect))}); n != 0 || !errors.Is(err, errPlannedEffect) {
			s.Fatal(n, err)
		}
		if _, err := e.Find(s.Context(), "b", "of 1"); !errors.Is(err, db.ErrNotFound) {
			s.Errorf("emitted by what failed: %v", err)
		}
		s.settle(e, doneWith(ev, emits(nil)))
		got := <-handed
		if got.ClientID != "b" || got.MessageID != "of 1" || string(got.Payload) != `{"n":2}` || got.RequestID != ev.RequestID {
			s.Errorf("handed over: %+v", got)
		}
		s.wantPending(e, "b", "of 1")
		if len(handed) != 0 {
			s.Errorf("%d more are handed over", len(handed))
		}
	}},
	{"an identity that is emitted for something else is refused", func(s *suite) {
		e := s.open(Options{})
		other := s.accept(e, event("b", "taken"))
		ev := s.accept(e, event("a", "1"))
		s.settle(e, doneWith(ev, func(tx db.Tx) (any, error) {
			err := tx.Emit(db.Event{ClientID: "b", MessageID: "taken", Type: "note", Payload: []byte(`{"n":2}`)})
			if reused, ok := errors.AsType[*db.IDReusedError](err); !ok || reused.Seq != other.Seq {
				return nil, fmt.Errorf("emit: %w", err)
			}
			return note("a", "goes on")(tx)
		}))
		s.wantNotes(e, "goes on")
	}},
	{"an effect is checked as the door checks", func(s *suite) {
		e := s.open(Options{Check: func(ev db.Event) (db.Event, error) {
			if ev.Type != "note" {
				return ev, errPlannedEffect
			}
			return ev, nil
		}})
		ev := s.accept(e, event("a", "1"))
		n, err := e.Settle([]db.Settlement{doneWith(ev, func(tx db.Tx) (any, error) {
			return nil, tx.Emit(db.Event{ClientID: "b", MessageID: "1", Type: "unknown", Payload: []byte(`{}`)})
		})})
		if n != 0 || !errors.Is(err, errPlannedEffect) {
			s.Errorf("%d, %v", n, err)
		}
	}},
	{"an effect writes functions' tables and nothing else", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		for _, text := range []string{
			"UPDATE outbox SET type = 'x'", "DELETE FROM pending", "INSERT INTO results (seq) VALUES (1)", "UPDATE accounts SET paused = 1", "DELETE FROM audit",
			"COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT a", "CREATE TABLE mine (a INTEGER)", "DROP TABLE notes", "",
		} {
			n, err := e.Settle([]db.Settlement{doneWith(ev, func(tx db.Tx) (any, error) {
				_, err := tx.ExecContext(tx.Context(), text)
				return nil, err
			})})
			if n != 0 || err == nil {
				s.Errorf("%q runs: %d, %v", text, n, err)
			}
		}
		s.wantPending(e, "a", "1")
		s.settle(e, doneWith(ev, note("a", "mine")))
		s.closed(e)
	}},
	{"a Tx ends with its effect", func(s *suite) {
		e := s.open(Options{})
		var kept db.Tx
		s.settle(e, doneWith(s.accept(e, event("a", "1")), func(tx db.Tx) (any, error) { kept = tx; return nil, nil }))
		_, execErr := kept.ExecContext(s.Context(), "INSERT INTO notes VALUES ('a', 'late')")
		_, queryErr := kept.QueryContext(s.Context(), "SELECT 1")
		var n int
		rowErr := kept.QueryRowContext(s.Context(), "SELECT 1").Scan(&n)
		_, prepareErr := kept.PrepareContext(s.Context(), "SELECT 1")
		for _, err := range []error{execErr, queryErr, rowErr, prepareErr, kept.Emit(event("a", "late"))} {
			if err == nil {
				s.Error("it goes on")
			}
		}
		s.wantNotes(e)
	}},
	{"an effect that takes too long has failed", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		n, err := e.Settle([]db.Settlement{doneWith(ev, func(tx db.Tx) (any, error) {
			for { // until its time is over
				if _, err := tx.ExecContext(tx.Context(), "DELETE FROM notes"); err != nil {
					return nil, err
				}
			}
		})})
		if n != 0 || !errors.Is(err, db.ErrEffectTooSlow) {
			s.Errorf("%d, %v", n, err)
		}
		s.settle(e, doneWith(ev, note("a", "quick")))
	}},
}
