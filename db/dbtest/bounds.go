package dbtest

import (
	"fmt"

	"inturn/db"
)

// boundsCases are the cases of promise 8: full is said, not suffered.
var boundsCases = []testCase{
	{"the backlog has a bound, and each settle makes room", func(s *suite) {
		e := s.open(Options{MaxPending: 3})
		evs := s.acceptAll(e, "a", 3)
		_, err := e.Append(s.Context(), event("b", "1"))
		s.wantError(err, db.ErrBacklogFull)
		if r, err := e.Append(s.Context(), event("a", "1")); err != nil || !r.Duplicate {
			s.Errorf("a repeat needs no room: %+v, %v", r, err)
		}
		results, err := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{event("b", "1"), event("a", "2")}})
		if err != nil {
			s.Fatal(err)
		}
		s.wantError(results[0].Err, db.ErrBacklogFull)
		s.wantError(results[1].Err, nil)
		s.settle(e, doneWith(evs[0], nil))
		s.accept(e, event("b", "1"))
		_, err = e.Append(s.Context(), event("b", "2"))
		s.wantError(err, db.ErrBacklogFull)
		if s.find(e, "a", "1"); e.Stats().Pending != 3 {
			s.Errorf("%+v", e.Stats())
		}
	}},
	{"an account has a bound of its own", func(s *suite) {
		e := s.open(Options{MaxAccountPending: 2})
		evs := s.acceptAll(e, "a", 2)
		_, err := e.Append(s.Context(), event("a", "3"))
		s.wantError(err, db.ErrAccountFull)
		s.acceptAll(e, "b", 2)
		after := s.open // the bound holds after a restart too
		s.settle(e, doneWith(evs[0], nil))
		s.accept(e, event("a", "3"))
		if _, ok := s.db.(Durable); ok {
			s.closed(e)
			e = after(Options{MaxAccountPending: 2})
			_, err = e.Append(s.Context(), event("a", "4"))
			s.wantError(err, db.ErrAccountFull)
		}
	}},
	{"what can't be worked off closes the door to its own account alone", func(s *suite) {
		e := s.open(Options{MaxPending: 4, MaxAccountPending: 3})
		parked := s.acceptAll(e, "parked", 2)
		s.accept(e, event("paused", "1"))
		s.accept(e, event("free", "1"))
		_, err := e.Append(s.Context(), event("free", "2"))
		s.wantError(err, db.ErrBacklogFull)
		if err := e.Hold(db.Hold{Event: parked[0], Attempts: 1, Park: true}); err != nil {
			s.Fatal(err)
		}
		s.execute(e, db.Command{Verb: db.Pause, ClientID: "paused"})
		s.accept(e, event("free", "2"))
		s.accept(e, event("free", "3"))
		s.accept(e, event("parked", "3"))
		_, err = e.Append(s.Context(), event("parked", "4"))
		s.wantError(err, db.ErrAccountFull)
		s.accept(e, event("other", "1"))
		_, err = e.Append(s.Context(), event("other", "2"))
		s.wantError(err, db.ErrBacklogFull)
		s.execute(e, db.Command{Verb: db.Resume, ClientID: "paused"})
		if got := e.Stats(); got.Pending != 8 || got.Runnable != 5 {
			s.Errorf("%+v", got)
		}
	}},
	{"an effect may emit beyond the backlog's bounds, within its own", func(s *suite) {
		e := s.open(Options{MaxPending: 1})
		ev := s.accept(e, event("a", "1"))
		emits := func(n int) db.Effect {
			return func(tx db.Tx) (any, error) {
				for i := range n {
					if err := tx.Emit(db.Event{ClientID: "b", MessageID: fmt.Sprint(i), Type: "note", Payload: []byte("{}")}); err != nil {
						return nil, err
					}
				}
				return nil, nil
			}
		}
		if n, err := e.Settle([]db.Settlement{doneWith(ev, emits(db.MaxEmit+1))}); n != 0 || err == nil {
			s.Errorf("too many: %d, %v", n, err)
		}
		s.settle(e, doneWith(ev, emits(3)))
		s.wantPending(e, "b", "0", "1", "2")
	}},
	{"an error's text is bounded", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		long := make([]byte, 3*db.MaxReason)
		for i := range long {
			long[i] = 0xff // no UTF-8
		}
		s.settle(e, deadOf(ev, string(long)))
		if r := s.find(e, "a", "1").Result; len(r.Error) == 0 || len(r.Error) > 3*db.MaxReason || r.Error != db.Bounded(string(long)) {
			s.Errorf("%d bytes", len(r.Error))
		}
	}},
}
