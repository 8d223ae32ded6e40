package dbtest

import (
	"errors"

	"inturn/db"
)

// crashesCases are the cases of promise 9: any crash, at any instruction, keeps 1 to 6. The
// model lets crashes come anywhere; here are the moments that matter.
var crashesCases = []testCase{
	{"in the middle of an effect", func(s *suite) {
		e := s.open(Options{})
		s.durable()
		ev := s.accept(e, event("a", "1"))
		var after Engine
		s.settle(e, doneWith(ev, func(tx db.Tx) (any, error) {
			if _, err := note("a", "half")(tx); err != nil {
				return nil, err
			}
			if after == nil {
				after = s.crashed(Options{})
			}
			return nil, nil
		}))
		if _, _, unclean := after.Backlog(); !unclean {
			s.Error("the end is called orderly")
		}
		s.wantNotes(after)
		s.wantPending(after, "a", "1")
		again := s.head(after, "a")
		if again.Run != 1 || again.Seq != ev.Seq || again.Position != ev.Position {
			s.Errorf("%+v, want %+v", again, ev)
		}
		s.settle(after, doneWith(again, note("a", "whole")))
		s.wantNotes(after, "whole")
	}},
	{"after the commit, before the answer", func(s *suite) {
		e := s.open(Options{})
		s.durable()
		var after Engine
		e.OnAppend(func([]db.Event) {
			if after == nil {
				after = s.crashed(Options{})
			}
		})
		ev := s.accept(e, event("a", "1"))
		r, err := after.Append(s.Context(), event("a", "1"))
		if err != nil || !r.Duplicate || r.Seq != ev.Seq {
			s.Errorf("sent again: %+v, %v", r, err)
		}
		s.wantPending(after, "a", "1")
	}},
	{"what is held, parked, paused and replayed is found again", func(s *suite) {
		e := s.open(Options{})
		s.durable()
		held, parked := s.accept(e, event("held", "1")), s.accept(e, event("parked", "1"))
		done := s.accept(e, event("replayed", "1"))
		s.accept(e, event("paused", "1"))
		s.settle(e, doneWith(done, nil))
		if err := errors.Join(e.Hold(db.Hold{Event: held, Attempts: 2}), e.Hold(db.Hold{Event: parked, Attempts: 9, Park: true})); err != nil {
			s.Fatal(err)
		}
		s.execute(e, db.Command{Verb: db.Pause, ClientID: "paused"})
		s.execute(e, db.Command{Verb: db.Pause, Type: "note"})
		s.execute(e, db.Command{Verb: db.Replay, ClientID: "replayed"})
		accounts, types, unclean := s.crashed(Options{}).Backlog()
		if !unclean || len(types) != 1 || types[0] != "note" || len(accounts) != 4 {
			s.Fatalf("%+v, %q, unclean %t", accounts, types, unclean)
		}
		for _, a := range accounts {
			ok := map[string]bool{
				"held": a.Attempts == 2 && a.HeadSeq == held.Seq && a.Events == 1, "parked": a.Parked && a.Events == 1,
				"paused": a.Paused && a.Events == 1, "replayed": a.Replaying && a.Events == 0,
			}[a.ClientID]
			if !ok {
				s.Errorf("%+v", a)
			}
		}
	}},
	{"in the middle of an erasure, which goes on", func(s *suite) {
		erasures := []db.Erasure{{Table: "notes", Rows: "SELECT rowid FROM notes WHERE client_id = :client_id"}}
		e := s.open(Options{Erasures: erasures})
		s.durable()
		s.settle(e, doneWith(s.accept(e, event("a", "1")), note("a", "text")))
		s.acceptAll(e, "b", 1)
		s.accept(e, event("a", "2"))
		var left Durable
		e.OnChange(func([]db.Change) {
			if left == nil {
				left, _ = s.durable().Crash()
			}
		})
		if _, err := e.Erase("a", "", ""); err != nil || left == nil {
			s.Fatal(err, left)
		}
		after := s.openOf(left, Options{Erasures: erasures})
		s.eventually("the erasure's end", func() bool {
			_, err := after.Account(s.Context(), "a")
			return errors.Is(err, db.ErrNotFound)
		})
		s.wantNotes(after)
		s.wantPending(after, "a")
		s.wantPending(after, "b", "1")
		s.accept(after, event("a", "1"))
	}},
}
