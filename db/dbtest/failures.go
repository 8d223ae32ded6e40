package dbtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"inturn/db"
)

// failuresCases are the cases of promise 5: a failing event holds its own account and no
// other.
var failuresCases = []testCase{
	{"a hold keeps an event at the head of its account", func(s *suite) {
		e := s.open(Options{})
		changes := make(chan db.Change, 10)
		e.OnChange(func(list []db.Change) {
			for _, c := range list {
				changes <- c
			}
		})
		evs := s.acceptAll(e, "a", 2)
		next := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		if err := e.Hold(db.Hold{Event: evs[0], Attempts: 3, NextAt: next, Error: "it rains"}); err != nil {
			s.Fatal(err)
		}
		if c := <-changes; c.ClientID != "a" || c.Attempts != 3 || !c.NextAt.Equal(next) || c.Parked {
			s.Errorf("change: %+v", c)
		}
		s.wantPending(e, "a", "1", "2")
		holds := func(e Engine) {
			s.Helper()
			a, err := e.Account(s.Context(), "a")
			if err != nil || a.Pending != 2 || a.HeadSeq != evs[0].Seq || a.Attempts != 3 || !a.NextAt.Equal(next) || a.LastError != "it rains" || a.Parked {
				s.Errorf("%+v, %v", a, err)
			}
		}
		holds(e)
		s.settle(e, doneWith(s.accept(e, event("b", "1")), nil)) // another account
		after := s.crashed(Options{})
		holds(after)
		if accounts, _, _ := after.Backlog(); len(accounts) != 1 || accounts[0].Attempts != 3 || accounts[0].HeadSeq != evs[0].Seq || !accounts[0].NextAt.Equal(next) {
			s.Errorf("backlog %+v", accounts)
		}
	}},
	{"a parked account waits for a person", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 2)
		s.accept(e, event("b", "1"))
		if err := e.Hold(db.Hold{Event: evs[0], Attempts: 20, Park: true, Error: "never"}); err != nil {
			s.Fatal(err)
		}
		parked, err := e.Accounts(s.Context(), db.AccountFilter{Parked: true, Limit: 10})
		if err != nil || len(parked) != 1 || parked[0].ClientID != "a" || !parked[0].Parked || parked[0].HeadSeq != evs[0].Seq {
			s.Errorf("%+v, %v", parked, err)
		}
		if got := e.Stats(); got.Pending != 3 || got.Runnable != 1 {
			s.Errorf("%+v", got)
		}
		held := doneWith(evs[0], nil)
		held.Held = true
		s.settle(e, held)
		a, err := e.Account(s.Context(), "a")
		if err != nil || a.Parked || a.Attempts != 0 || a.LastError != "" || a.HeadSeq != evs[1].Seq {
			s.Errorf("settled: %+v, %v", a, err)
		}
		s.closed(e)
	}},
	{"failing effects concern no neighbour", func(s *suite) {
		e := s.open(Options{})
		const accounts = 24
		var list []db.Event
		for i := range accounts {
			list = append(list, s.accept(e, event(fmt.Sprintf("c%02d", i), "1")))
		}
		var all sync.WaitGroup
		var want []string
		for i, ev := range list {
			effect := note(ev.ClientID, ev.ClientID)
			switch i % 3 {
			case 0:
				want = append(want, ev.ClientID)
			case 1:
				effect = func(tx db.Tx) (any, error) {
					_, err := note(ev.ClientID, ev.ClientID)(tx)
					return nil, errors.Join(err, errPlannedEffect)
				}
			case 2:
				effect = func(tx db.Tx) (any, error) {
					_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (client_id, text) VALUES (NULL, 'refused')")
					return nil, err
				}
			}
			all.Go(func() {
				if n, err := e.Settle([]db.Settlement{doneWith(ev, effect)}); n == 1 != (i%3 == 0) || (err == nil) != (i%3 == 0) {
					s.Errorf("%s: %d, %v", ev.ClientID, n, err)
				}
			})
		}
		all.Wait()
		s.wantNotes(e, want...)
		s.closed(e)
	}},
	{"accounts are listed in the order of client_id", func(s *suite) {
		e := s.open(Options{})
		for _, c := range []string{"b", "a", "ä", "B", "c"} {
			s.accept(e, event(c, "1"))
		}
		list, err := e.Accounts(s.Context(), db.AccountFilter{Limit: 3})
		rest, rerr := e.Accounts(s.Context(), db.AccountFilter{After: "b", Limit: 10})
		var got []string
		for _, a := range slices.Concat(list, rest) {
			got = append(got, a.ClientID)
		}
		if want := []string{"B", "a", "b", "c", "ä"}; err != nil || rerr != nil || !slices.Equal(got, want) {
			s.Errorf("%q, %v, %v, want %q", got, err, rerr, want)
		}
	}},
}
