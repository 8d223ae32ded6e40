package dbtest

import (
	"errors"
	"fmt"
	"sync"

	"inturn/db"
)

// identityCases are the cases of promise 2: one event once.
var identityCases = []testCase{
	{"a repeat gets the first one's receipt", func(s *suite) {
		e := s.open(Options{})
		one := s.accept(e, event("a", "1"))
		repeat := func(e Engine, state db.State) {
			s.Helper()
			r, err := e.Append(s.Context(), event("a", "1"))
			if err != nil || !r.Duplicate || r.Seq != one.Seq || r.State != state || (r.Result != nil) != (state != db.Pending) {
				s.Errorf("%+v, %v, want seq %d, %s", r, err, one.Seq, state)
			}
			results, err := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{event("a", "1"), event("a", "1")}})
			if err != nil {
				s.Fatal(err)
			}
			for _, r := range results {
				if r.Err != nil || !r.Receipt.Duplicate || r.Receipt.Seq != one.Seq || r.Receipt.State != "" || r.Receipt.Result != nil {
					s.Errorf("in a batch: %+v, want seq %d alone", r, one.Seq)
				}
			}
			result, err := e.Result(s.Context(), one.Seq)
			if err != nil || (result != nil) != (state != db.Pending) || result != nil && result.Status != state {
				s.Errorf("its result: %+v, %v", result, err)
			}
			if got, err := e.State(s.Context(), one.Seq); err != nil || got != state {
				s.Errorf("its state: %s, %v, want %s", got, err, state)
			}
		}
		repeat(e, db.Pending)
		s.settle(e, doneWith(one, note("a", "once")))
		repeat(e, db.Done)
		s.wantPending(e, "a")
		repeat(s.crashed(Options{}), db.Done)
	}},
	{"another payload or type is refused", func(s *suite) {
		e := s.open(Options{})
		one := s.accept(e, event("a", "1"))
		payload, typ := event("a", "1"), event("a", "1")
		payload.Payload, typ.Type = []byte(`{"n":2}`), "other"
		for _, ev := range []db.Event{payload, typ} {
			_, err := e.Append(s.Context(), ev)
			if reused, ok := errors.AsType[*db.IDReusedError](err); !ok || reused.Seq != one.Seq {
				s.Errorf("%v, want seq %d", err, one.Seq)
			}
			results, err := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{ev, event("b", "of "+ev.Type+string(ev.Payload))}})
			if err != nil {
				s.Fatal(err)
			}
			if reused, ok := errors.AsType[*db.IDReusedError](results[0].Err); !ok || reused.Seq != one.Seq || results[1].Err != nil {
				s.Errorf("in a batch: %+v", results)
			}
		}
		if got := s.find(e, "a", "1"); string(got.Payload) != string(one.Payload) || got.Type != one.Type {
			s.Errorf("the first one is now %+v", got)
		}
	}},
	{"an id belongs to its account", func(s *suite) {
		e := s.open(Options{})
		a, b := s.accept(e, event("a", "1")), s.accept(e, event("b", "1"))
		if a.Seq == b.Seq {
			s.Errorf("both have seq %d", a.Seq)
		}
		if _, err := e.Find(s.Context(), "c", "1"); !errors.Is(err, db.ErrNotFound) {
			s.Errorf("of a third: %v", err)
		}
	}},
	{"of many at the same time one is new", func(s *suite) {
		e := s.open(Options{})
		for i := range 20 {
			id := fmt.Sprint(i)
			var mu sync.Mutex
			seqs, fresh := map[int64]bool{}, 0
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					r, err := e.Append(s.Context(), event("a", id))
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						s.Error(err)
					}
					if seqs[r.Seq] = true; !r.Duplicate {
						fresh++
					}
				})
			}
			all.Wait()
			if len(seqs) != 1 || fresh != 1 {
				s.Errorf("seqs %v, %d are new", seqs, fresh)
			}
		}
	}},
	{"a run is settled once", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		var mu sync.Mutex
		settled := 0
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				n, err := e.Settle([]db.Settlement{doneWith(ev, note("a", fmt.Sprint(i)))})
				mu.Lock()
				defer mu.Unlock()
				if settled += n; n == 0 && !errors.Is(err, db.ErrSuperseded) {
					s.Error(err)
				}
			})
		}
		all.Wait()
		rows, err := e.Query(s.Context(), "SELECT count(*) FROM notes")
		if err != nil || settled != 1 || rows[0][0].(int64) != 1 {
			s.Errorf("settled %d times, effects %v, %v", settled, rows, err)
		}
		if err := e.Hold(db.Hold{Event: ev, Attempts: 1}); !errors.Is(err, db.ErrSuperseded) {
			s.Errorf("held afterwards: %v", err)
		}
	}},
	{"only the run that is pending can be ended", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		for _, wrong := range []func(ev *db.Event){
			func(ev *db.Event) { ev.ClientID = "b" }, func(ev *db.Event) { ev.Position++ }, func(ev *db.Event) { ev.Run = 2 },
			func(ev *db.Event) { ev.Seq++; ev.Position++ },
		} {
			other := ev
			wrong(&other)
			if n, err := e.Settle([]db.Settlement{doneWith(other, note("a", "never"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
				s.Errorf("%+v: %d, %v", other, n, err)
			}
		}
		s.wantNotes(e)
		s.settle(e, doneWith(ev, note("a", "now")))
		s.closed(e)
	}},
}
