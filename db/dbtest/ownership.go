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
