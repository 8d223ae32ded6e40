package dbtest

import (
	"context"
	"errors"
	"time"

	"inturn/db"
)

// ownershipCases are the cases of promise 6: what has lost the ownership writes nothing.
var ownershipCases = []testCase{
	{"a database has one owner at a time", func(s *suite) {
		e := s.open(Options{})
		d := s.durable()
		ctx, cancel := context.WithTimeout(s.Context(), 300*time.Millisecond)
		defer cancel()
		if second, err := d.Open(ctx, Options{Tables: notesTable}); !errors.Is(err, context.DeadlineExceeded) {
			if err == nil {
				second.Close()
			}
			s.Fatalf("a second one opens it: %v", err)
		}
		s.accept(e, event("a", "1")) // the first one goes on
	}},
	{"each ownership has a greater epoch", func(s *suite) {
		e := s.open(Options{})
		s.durable()
		first := e.Epoch()
		s.closed(e)
		e = s.open(Options{})
		second := e.Epoch()
		third := s.crashed(Options{}).Epoch()
		if first <= 0 || second <= first || third <= second || e.Stats().Epoch != second {
			s.Errorf("epochs %d, %d, %d, in the statistics %d", first, second, third, e.Stats().Epoch)
		}
	}},
	{"who waits gets the database once it is free", func(s *suite) {
		e := s.open(Options{})
		d := s.durable()
		s.accept(e, event("a", "1"))
		opened := make(chan error, 1)
		var second Engine
		go func() {
			var err error
			second, err = d.Open(context.Background(), Options{Tables: notesTable})
			opened <- err
		}()
		if err := e.Close(); err != nil {
			s.Fatal(err)
		}
		if err := <-opened; err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { second.Close() })
		s.wantPending(second, "a", "1")
		if n, err := e.Settle([]db.Settlement{doneWith(s.head(second, "a"), nil)}); n != 0 || !errors.Is(err, db.ErrClosed) {
			s.Errorf("the first one writes: %d, %v", n, err)
		}
		s.wantPending(second, "a", "1")
	}},
	{"what has lost the database writes nothing more, and says so", func(s *suite) {
		e := s.open(Options{})
		d := s.durable()
		ev := s.accept(e, event("a", "1"))
		if err := d.Steal(s.Context()); err != nil {
			s.Fatal(err)
		}
		_, err := e.Append(s.Context(), event("a", "2"))
		s.wantError(err, db.ErrFenced)
		s.wait("Failed", e.Failed())
		s.wantError(e.Err(), db.ErrFenced)
		s.wantError(e.Ready(), db.ErrFenced)
		_, batchErr := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{event("a", "3")}})
		n, settleErr := e.Settle([]db.Settlement{doneWith(ev, note("a", "late"))})
		_, commandErr := e.Execute(s.Context(), db.Command{Verb: db.Pause, ClientID: "a"})
		for _, err := range []error{batchErr, settleErr, commandErr, e.Hold(db.Hold{Event: ev, Attempts: 1})} {
			s.wantError(err, db.ErrFenced)
		}
		if n != 0 {
			s.Errorf("%d are settled", n)
		}
		s.wantError(e.Close(), db.ErrFenced)
		e = s.open(Options{})
		s.wantPending(e, "a", "1")
		s.wantNotes(e)
		if a, err := e.Account(s.Context(), "a"); err != nil || a.Paused || a.Attempts != 0 {
			s.Errorf("%+v, %v", a, err)
		}
	}},
	{"a settle is fenced too", func(s *suite) {
		e := s.open(Options{})
		d := s.durable()
		ev := s.accept(e, event("a", "1"))
		if err := d.Steal(s.Context()); err != nil {
			s.Fatal(err)
		}
		n, err := e.Settle([]db.Settlement{doneWith(ev, note("a", "late"))})
		if s.wantError(err, db.ErrFenced); n != 0 {
			s.Errorf("%d are settled", n)
		}
		e.Close()
		e = s.open(Options{})
		s.wantPending(e, "a", "1")
		s.wantNotes(e)
	}},
	{"an engine that works has not failed", func(s *suite) {
		e := s.open(Options{})
		s.accept(e, event("a", "1"))
		select {
		case <-e.Failed():
			s.Error("it has failed")
		default:
		}
		if e.Err() != nil || e.Ready() != nil {
			s.Errorf("%v, %v", e.Err(), e.Ready())
		}
	}},
}
