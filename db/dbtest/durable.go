package dbtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"inturn/db"
)

// durableCases are the cases of promise 1: an answer means durable.
var durableCases = []testCase{
	{"an append that was answered is there after a crash", func(s *suite) {
		e := s.open(Options{})
		one := s.accept(e, event("a", "1"))
		results, err := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{event("a", "2"), event("b", "1")}})
		if err != nil || len(results) != 2 || results[0].Err != nil || results[1].Err != nil {
			s.Fatalf("batch: %+v, %v", results, err)
		}
		after := s.crashed(Options{})
		got := s.find(after, "a", "1")
		if got.Seq != one.Seq || got.State != db.Pending || got.Type != one.Type || got.RequestID != one.RequestID ||
			string(got.Payload) != string(one.Payload) || string(got.Attrs) != string(one.Attrs) || got.ReceivedAt.IsZero() {
			s.Errorf("%+v, want %+v", got, one)
		}
		s.wantPending(after, "a", "1", "2")
		s.wantPending(after, "b", "1")
	}},
	{"what was settled is there after a crash, with its effect", func(s *suite) {
		e := s.open(Options{})
		one, two := s.accept(e, event("a", "1")), s.accept(e, event("a", "2"))
		one.Attempt = 3
		s.settle(e, doneWith(one, note("a", "kept")), deadOf(two, "it can't be"))
		after := s.crashed(Options{})
		s.wantPending(after, "a")
		s.wantNotes(after, "kept")
		r := s.find(after, "a", "1").Result
		if r == nil || r.Status != db.Done || r.Run != 1 || r.Attempts != 3 || string(r.Output) != `"kept"` || !r.StartedAt.Equal(time.UnixMicro(1000)) || r.FinishedAt.IsZero() {
			s.Errorf("%+v", r)
		}
		if r := s.find(after, "a", "2").Result; r == nil || r.Status != db.Dead || r.Error != "it can't be" || r.Output != nil {
			s.Errorf("%+v", r)
		}
	}},
	{"what an operator was told is there after a crash", func(s *suite) {
		e := s.open(Options{})
		s.accept(e, event("a", "1"))
		told := s.execute(e, db.Command{Verb: db.Pause, ClientID: "a", Who: "olga", Reason: "a test"})
		after := s.crashed(Options{})
		account, err := after.Account(s.Context(), "a")
		if err != nil || !account.Paused {
			s.Errorf("%+v, %v", account, err)
		}
		audit, err := after.Audit(s.Context(), db.AuditFilter{})
		if err != nil || len(audit) != 1 || audit[0].ID != told.ID || audit[0].Command.Who != "olga" || audit[0].Command.Reason != "a test" {
			s.Errorf("audit: %+v, %v", audit, err)
		}
	}},
	{"a database that was closed is as it was", func(s *suite) {
		e := s.open(Options{})
		s.durable()
		events := s.acceptAll(e, "a", 40)
		for _, ev := range events[:10] {
			s.settle(e, doneWith(ev, nil))
		}
		s.closed(e)
		e = s.open(Options{})
		if accounts, _, unclean := e.Backlog(); unclean || len(accounts) != 1 || accounts[0].Events != 30 || accounts[0].HeadPosition != events[10].Position {
			s.Errorf("backlog %+v, unclean %t", accounts, unclean)
		}
		if got := s.pending(e, "a"); len(got) != 30 || got[0] != "11" || got[29] != "40" {
			s.Errorf("pending: %q", got)
		}
		s.closed(e)
	}},
	{"every call after Close is refused", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		waits := make(chan error, 1)
		go func() {
			_, err := e.Wait(context.Background(), ev.Seq, nil)
			waits <- err
		}()
		s.closed(e)
		_, appendErr := e.Append(s.Context(), event("a", "2"))
		_, batchErr := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{event("a", "3")}})
		_, settleErr := e.Settle([]db.Settlement{doneWith(ev, nil)})
		_, commandErr := e.Execute(s.Context(), db.Command{Verb: db.Pause, ClientID: "a"})
		for what, err := range map[string]error{"append": appendErr, "batch": batchErr, "settle": settleErr, "command": commandErr,
			"hold": e.Hold(db.Hold{Event: ev}), "wait": <-waits, "ready": e.Ready()} {
			if !errors.Is(err, db.ErrClosed) {
				s.Errorf("%s: %v", what, err)
			}
		}
	}},
	{"Wait hands the result to all that wait", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		s.settle(e, doneWith(ev, note("a", "x")))
		other := s.accept(e, event("a", "2"))
		got := make(chan string, 3)
		for range 3 {
			go func() {
				r, err := e.Wait(context.Background(), other.Seq, nil)
				got <- fmt.Sprint(r != nil && r.Status == db.Dead && r.Error == "why", err)
			}()
		}
		if r, err := e.Wait(s.Context(), ev.Seq, nil); err != nil || r.Status != db.Done {
			s.Errorf("of what has ended: %+v, %v", r, err)
		}
		stop := make(chan struct{})
		close(stop)
		if _, err := e.Wait(s.Context(), other.Seq, stop); !errors.Is(err, db.ErrClosed) {
			s.Errorf("stopped: %v", err)
		}
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if _, err := e.Wait(ctx, other.Seq, nil); !errors.Is(err, context.Canceled) {
			s.Errorf("cancelled: %v", err)
		}
		s.settle(e, deadOf(other, "why"))
		for range 3 {
			if r := <-got; r != "true <nil>" {
				s.Error(r)
			}
		}
	}},
}
