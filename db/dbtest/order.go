package dbtest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"inturn/db"
)

// orderCases are the cases of promise 3: in turn.
var orderCases = []testCase{
	{"pending events come in the order of acceptance", func(s *suite) {
		e := s.open(Options{Batch: 7})
		events := s.acceptAll(e, "a", 30)
		s.acceptAll(e, "b", 3)
		var got []db.Event
		for after, more := int64(-1<<63), true; more; {
			var page []db.Event
			var err error
			if page, more, err = e.PendingAfter(s.Context(), "a", after, 7, 1<<20); err != nil || len(page) > 7 {
				s.Fatal(len(page), err)
			}
			for _, ev := range page {
				if ev.Position <= after {
					s.Fatalf("position %d after %d", ev.Position, after)
				}
				after = ev.Position
			}
			got = append(got, page...)
		}
		if len(got) != len(events) {
			s.Fatalf("%d events, want %d", len(got), len(events))
		}
		for i, ev := range got {
			want := events[i]
			if ev.MessageID != want.MessageID || ev.Seq != want.Seq || ev.Position != want.Position || ev.Run != 1 || ev.ClientID != "a" ||
				string(ev.Payload) != string(want.Payload) || string(ev.Attrs) != string(want.Attrs) || ev.RequestID != want.RequestID {
				s.Errorf("event %d is %+v, want %+v", i, ev, want)
			}
		}
	}},
	{"a page of pending events is bounded by its bytes, but has one", func(s *suite) {
		e := s.open(Options{})
		for i := range 4 {
			ev := event("a", fmt.Sprint(i))
			ev.Payload = fmt.Appendf(nil, `"%01000d"`, i)
			s.accept(e, ev)
		}
		for most, want := range map[int]int{1: 1, 2500: 2, 1 << 20: 4} {
			events, more, err := e.PendingAfter(s.Context(), "a", 0, 100, most)
			if err != nil || len(events) != want || more != (want < 4) {
				s.Errorf("of %d bytes: %d events, more %t, %v", most, len(events), more, err)
			}
		}
	}},
	{"events are handed over after their commit and in its order", func(s *suite) {
		e := s.open(Options{})
		var mu sync.Mutex
		var handed []db.Event
		e.OnAppend(func(events []db.Event) {
			mu.Lock()
			defer mu.Unlock()
			handed = append(handed, slices.Clone(events)...)
		})
		var all sync.WaitGroup
		for c := range 8 {
			all.Go(func() {
				for i := range 25 {
					client, id := fmt.Sprint("c", c), fmt.Sprint(i)
					r, err := e.Append(s.Context(), event(client, id))
					if err != nil {
						s.Error(err)
						return
					}
					mu.Lock()
					if !slices.ContainsFunc(handed, func(ev db.Event) bool { return ev.Seq == r.Seq && ev.ClientID == client && ev.MessageID == id }) {
						s.Errorf("%s %s was answered and not handed over", client, id)
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(handed) != 200 {
			s.Fatalf("%d events", len(handed))
		}
		next := map[string]int{}
		for i, ev := range handed {
			if i > 0 && ev.Seq <= handed[i-1].Seq {
				s.Errorf("seq %d comes after %d", ev.Seq, handed[i-1].Seq)
			}
			if ev.MessageID != fmt.Sprint(next[ev.ClientID]) || ev.Run != 1 || ev.Position != ev.Seq || ev.ReceivedAt.IsZero() {
				s.Errorf("%s %s is %d of its account: %+v", ev.ClientID, ev.MessageID, next[ev.ClientID], ev)
			}
			next[ev.ClientID]++
		}
	}},
	{"a batch keeps its order, and no event overtakes a refused one", func(s *suite) {
		e := s.open(Options{MaxAccountPending: 2})
		refused := map[string]bool{}
		results, err := e.AppendBatch(s.Context(), db.Batch{Refused: refused, Events: []db.Event{
			event("a", "1"), event("b", "1"), event("a", "2"), event("a", "3"), event("a", "1"), event("b", "2"),
		}})
		if err != nil || len(results) != 6 {
			s.Fatal(results, err)
		}
		for i, want := range []error{nil, nil, nil, db.ErrAccountFull, db.ErrNotAttempted, nil} {
			s.wantError(results[i].Err, want)
		}
		if !refused["a"] || refused["b"] {
			s.Errorf("refused: %v", refused)
		}
		s.wantPending(e, "a", "1", "2")
		s.wantPending(e, "b", "1", "2")
	}},
	{"numbers are never used again", func(s *suite) {
		e := s.open(Options{})
		last := s.acceptAll(e, "a", 3)[2]
		if _, err := e.Erase("a", "", ""); err != nil {
			s.Fatal(err)
		}
		if again := s.accept(e, event("a", "1")); again.Seq <= last.Seq {
			s.Errorf("seq %d after %d", again.Seq, last.Seq)
		} else {
			last = again
		}
		e = s.crashed(Options{})
		if next := s.accept(e, event("b", "1")); next.Seq <= last.Seq {
			s.Errorf("after a crash: seq %d after %d", next.Seq, last.Seq)
		}
	}},
	{"Events lists in the order of seq, in pages", func(s *suite) {
		e := s.open(Options{Batch: 5})
		a := s.acceptAll(e, "a", 12)
		b := s.acceptAll(e, "b", 3)
		s.settle(e, doneWith(a[0], nil), deadOf(a[1], "x"))
		for _, c := range []struct {
			filter db.Filter
			want   []int64
		}{
			{db.Filter{ClientID: "a", Limit: 3}, []int64{a[0].Seq, a[1].Seq, a[2].Seq}},
			{db.Filter{ClientID: "a", After: a[9].Seq, Limit: 100}, []int64{a[10].Seq, a[11].Seq}},
			{db.Filter{State: db.Done, Limit: 100}, []int64{a[0].Seq}},
			{db.Filter{State: db.Dead, ClientID: "a", Limit: 100}, []int64{a[1].Seq}},
			{db.Filter{State: db.Pending, After: a[10].Seq, Limit: 2}, []int64{a[11].Seq, b[0].Seq}},
			{db.Filter{Newest: true, Limit: 2}, []int64{b[2].Seq, b[1].Seq}},
			{db.Filter{Newest: true, After: b[0].Seq, Limit: 1}, []int64{a[11].Seq}},
			{db.Filter{Newest: true, ClientID: "a", After: a[3].Seq, Limit: 100}, []int64{a[2].Seq, a[1].Seq, a[0].Seq}},
			{db.Filter{Newest: true, ClientID: "a", State: db.Dead, Limit: 100}, []int64{a[1].Seq}},
			{db.Filter{Type: "none", Limit: 100}, nil},
			{db.Filter{Type: b[0].Type, RequestID: b[0].RequestID, ClientID: "b", Limit: 1}, []int64{b[0].Seq}},
			{db.Filter{RequestID: "none", Limit: 100}, nil},
			{db.Filter{Since: time.Now().Add(time.Hour), Limit: 100}, nil},
			{db.Filter{Until: time.Now().Add(-time.Hour), Limit: 100}, nil},
			{db.Filter{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour), Limit: 1}, []int64{a[0].Seq}},
		} {
			list, err := e.Events(s.Context(), c.filter)
			var got []int64
			for _, ev := range list {
				got = append(got, ev.Seq)
			}
			if err != nil || !slices.Equal(got, c.want) {
				s.Errorf("%+v: %v, %v, want %v", c.filter, got, err, c.want)
			}
		}
	}},
}
