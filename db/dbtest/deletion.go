package dbtest

import (
	"context"
	"errors"
	"time"

	"inturn/db"
)

// deletionCases are the cases of deletion: what is deleted is gone, and nothing else.
var deletionCases = []testCase{
	{"an erasure takes everything of its client", func(s *suite) {
		e := s.open(Options{Batch: 3, Erasures: []db.Erasure{{Table: "notes", Rows: "SELECT rowid FROM notes WHERE client_id = :client_id"}}})
		evs := s.acceptAll(e, "a", 4)
		other := s.acceptAll(e, "b", 2)
		s.settle(e, doneWith(evs[0], note("a", "of a")), deadOf(evs[1], "no"))
		s.settle(e, doneWith(other[0], note("b", "of b")))
		s.execute(e, db.Command{Verb: db.Pause, ClientID: "a", Who: "olga", Reason: "names a", Key: "k"})
		r, err := e.Erase("a", "olga", "asked for")
		if err != nil || r.Client != db.EraseMark("a") || r.Events != 4 || r.Pending != 2 || r.Rows["notes"] != 1 {
			s.Fatalf("%+v, %v", r, err)
		}
		for _, ev := range evs { // nobody waits for what is gone
			ctx, cancel := context.WithTimeout(s.Context(), patience)
			_, err := e.Wait(ctx, ev.Seq, nil)
			s.wantError(err, db.ErrNotFound)
			cancel()
		}
		s.wantNotes(e, "of b")
		s.wantPending(e, "a")
		s.wantPending(e, "b", "2")
		for _, id := range []string{"1", "2", "3", "4"} {
			_, err := e.Find(s.Context(), "a", id)
			s.wantError(err, db.ErrNotFound)
		}
		_, err = e.Account(s.Context(), "a")
		s.wantError(err, db.ErrNotFound)
		if n, err := e.Settle([]db.Settlement{doneWith(evs[2], note("a", "late"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
			s.Errorf("what of it ran: %d, %v", n, err)
		}
		if audit, err := e.Audit(s.Context(), db.AuditFilter{ClientID: "a", Limit: 10}); err != nil || len(audit) != 0 {
			s.Errorf("its name is in the audit: %+v, %v", audit, err)
		}
		audit, err := e.Audit(s.Context(), db.AuditFilter{ClientID: db.EraseMark("a"), Limit: 10})
		if err != nil || len(audit) != 2 || audit[0].Command.Verb != db.Erasing || audit[0].Command.Reason != "asked for" || audit[1].Command.Reason != "" || audit[1].Command.Key != "" {
			s.Errorf("%+v, %v", audit, err)
		}
		s.accept(e, event("a", "1")) // a new identity
		if r, err := e.Erase("nobody", "", ""); err != nil || r.Events != 0 {
			s.Errorf("what is not there: %+v, %v", r, err)
		}
		s.closed(e)
	}},
	{"events of a client are refused while it is erased", func(s *suite) {
		e := s.open(Options{})
		s.acceptAll(e, "a", 3)
		answers := make(chan error, 1)
		e.OnChange(func([]db.Change) { // the erasure begins with this commit
			go func() {
				_, err := e.Append(context.Background(), event("a", "new"))
				answers <- err
			}()
			s.eventually("the append in the queue", func() bool { return e.Stats().Queued > 0 })
		})
		if _, err := e.Erase("a", "", ""); err != nil {
			s.Fatal(err)
		}
		s.wantError(<-answers, db.ErrErasing)
		s.wantPending(e, "a")
		s.accept(e, event("a", "new"))
		s.closed(e)
	}},
	{"retention deletes what was finished long ago, and nothing that is pending", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 4)
		s.settle(e, doneWith(evs[0], note("a", "stays")), deadOf(evs[1], "no"))
		s.settle(e, doneWith(evs[2], nil))
		s.execute(e, db.Command{Verb: db.Redrive, Seq: evs[1].Seq})
		replayed := s.accept(e, event("replayed", "1"))
		s.settle(e, doneWith(replayed, nil))
		s.execute(e, db.Command{Verb: db.Replay, ClientID: "replayed"})
		retain := func(age time.Duration) {
			ctx, cancel := context.WithCancel(s.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				e.Retain(ctx, age)
			}()
			if age < time.Hour {
				s.eventually("the retention", func() bool {
					_, err := e.Find(s.Context(), "a", "3")
					return errors.Is(err, db.ErrNotFound)
				})
			}
			cancel()
			<-ended
		}
		retain(time.Hour)
		s.find(e, "a", "1")
		retain(0)
		_, err := e.Find(s.Context(), "a", "1")
		s.wantError(err, db.ErrNotFound)
		s.wantNotes(e, "stays")
		s.wantPending(e, "a", "4", "2")
		s.find(e, "replayed", "1") // it is to run again
		if _, err := e.ExpandReplay("replayed"); err != nil {
			s.Fatal(err)
		}
		s.wantPending(e, "replayed", "1")
		_, err = e.Execute(s.Context(), db.Command{Verb: db.Redrive, Seq: evs[0].Seq})
		s.wantError(err, db.ErrGone)
		again := s.accept(e, event("a", "1"))
		if again.Seq <= evs[3].Seq {
			s.Errorf("seq %d is used again", again.Seq)
		}
		if at, err := e.AcceptedAt(s.Context(), again.Position); err != nil || at.IsZero() {
			s.Errorf("%v, %v", at, err)
		}
		s.closed(e)
	}},
}
