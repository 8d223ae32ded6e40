package dbtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"inturn/db"
)

// attemptsCases are the cases of what is kept of an event's attempts: the errors of the last
// ones, and what its effects emitted.
var attemptsCases = []testCase{
	{"the errors of the last attempts are kept", func(s *suite) {
		e := s.scheduler(s.open(Options{}))
		ev, other := s.accept(e, event("a", "1")), s.accept(e, event("b", "1"))
		want := []string{}
		for i := range db.MaxErrors + 5 {
			reason := fmt.Sprint("error ", i+1)
			if err := e.Hold(db.Hold{Event: ev, Attempts: i + 1, NextAt: time.Now(), Error: reason, Failed: true}); err != nil {
				s.Fatal(err)
			}
			want = append(want, fmt.Sprint("run 1 attempt ", i+1, ": ", reason))
		}
		if err := e.Hold(db.Hold{Event: ev, Attempts: 30, NextAt: time.Now(), Error: "it was no failure"}); err != nil {
			s.Fatal(err)
		}
		want = want[len(want)-db.MaxErrors:]
		s.wantErrors(e, ev.Seq, want...)
		s.wantErrors(e, other.Seq)
		dead := ev
		dead.Attempt = 31
		settlement := deadOf(dead, "the last one")
		settlement.Held = true
		s.settle(e, settlement)
		want = append(want[1:], "run 1 attempt 31: the last one")
		s.wantErrors(e, ev.Seq, want...)
		s.execute(e, db.Command{Verb: db.Redrive, Seq: ev.Seq})
		again := s.head(e, "a")
		s.settle(e, deadOf(again, "again"))
		want = append(want[1:], "run 2 attempt 1: again")
		s.wantErrors(e, ev.Seq, want...)
		s.wantErrors(s.scheduler(s.reopened(e)), ev.Seq, want...)
		if err := e.Hold(db.Hold{Event: ev, Attempts: 1, Error: "late", Failed: true}); !errors.Is(err, db.ErrSuperseded) {
			s.Errorf("a run that has ended: %v", err)
		}
		s.wantErrors(e, ev.Seq, want...)
		if _, err := e.Erase("a", "", ""); err != nil {
			s.Fatal(err)
		}
		s.wantErrors(e, ev.Seq)
		s.closed(e)
	}},
	{"what an event emitted is known", func(s *suite) {
		e := s.scheduler(s.open(Options{}))
		there := s.accept(e, event("b", "there"))
		ev := s.accept(e, event("a", "1"))
		emit := func(fails error, ids ...string) db.Effect {
			return func(tx db.Tx) (any, error) {
				for _, id := range ids {
					if err := tx.Emit(event("b", id)); err != nil {
						return nil, err
					}
				}
				return nil, fails
			}
		}
		if n, err := e.Settle([]db.Settlement{doneWith(ev, emit(errPlannedEffect, "lost"))}); n != 0 || !errors.Is(err, errPlannedEffect) {
			s.Fatal(n, err)
		}
		s.wantEmitted(e, ev.Seq)
		s.settle(e, doneWith(there, nil))
		s.settle(e, doneWith(ev, emit(nil, "there", "new", "new", "more")))
		s.wantEmitted(e, ev.Seq, "b there done", "b new pending", "b more pending")
		if page, err := e.Emitted(s.Context(), ev.Seq, there.Seq, 1); err != nil || len(page) != 1 || page[0].MessageID != "new" {
			s.Errorf("a page: %+v, %v", page, err)
		}
		s.wantEmitted(e, there.Seq)
		s.wantEmitted(s.scheduler(s.reopened(e)), ev.Seq, "b there done", "b new pending", "b more pending")
		if _, err := e.Erase("b", "", ""); err != nil {
			s.Fatal(err)
		}
		s.wantEmitted(e, ev.Seq)
		s.closed(e)
	}},
}

func (s *suite) wantErrors(e Scheduler, seq int64, want ...string) {
	s.Helper()
	list, err := e.Errors(s.Context(), seq)
	if err != nil {
		s.Fatal(err)
	}
	got := []string{}
	for _, one := range list {
		if time.Since(one.At) > time.Hour {
			s.Errorf("at %v", one.At)
		}
		got = append(got, fmt.Sprintf("run %d attempt %d: %s", one.Run, one.Attempt, one.Error))
	}
	if !slices.Equal(got, append([]string{}, want...)) {
		s.Errorf("errors of seq %d:\n%q, want\n%q", seq, got, want)
	}
}

func (s *suite) wantEmitted(e Scheduler, seq int64, want ...string) {
	s.Helper()
	list, err := e.Emitted(s.Context(), seq, 0, 1000)
	if err != nil {
		s.Fatal(err)
	}
	got := []string{}
	for _, r := range list {
		got = append(got, fmt.Sprint(r.ClientID, " ", r.MessageID, " ", r.State))
	}
	if !slices.Equal(got, append([]string{}, want...)) {
		s.Errorf("seq %d emitted %q, want %q", seq, got, want)
	}
}
