package dbtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"inturn/db"
	"inturn/functions"
)

// scheduledCases are the cases of Event.DeliverAt: an event that was accepted is durable and
// unique at once, and gets its place when its time has come, once. Their time is that of a
// bubble of testing/synctest.
var scheduledCases = []testCase{
	{"an event waits for its time, and is in turn from then on", inBubble(func(s *suite) {
		e := s.open(Options{Batch: 3})
		handed := s.handed(e)
		first := s.accept(e, event("a", "1"))
		ahead := s.schedule(e, "a", "ahead", time.Minute)
		second := s.accept(e, event("a", "2"))
		s.wantHanded(handed, "1", "2")
		s.wantPending(e, "a", "1", "2")
		time.Sleep(time.Minute - time.Millisecond)
		s.wantHanded(handed)
		third := s.accept(e, event("a", "3"))
		s.wantHanded(handed, "3")
		time.Sleep(time.Second)
		got := s.wantHanded(handed, "ahead")[0]
		if got.Seq != ahead.Seq || got.Position <= third.Position || got.Run != 1 || !got.DeliverAt.Equal(ahead.DeliverAt) || !got.ReceivedAt.Equal(s.find(e, "a", "ahead").ReceivedAt) {
			s.Errorf("handed over: %+v", got)
		}
		fourth := s.accept(e, event("a", "4"))
		s.wantPending(e, "a", "1", "2", "3", "ahead", "4")
		got.Attempt = 1
		s.settle(e, doneWith(first, nil), doneWith(second, nil), doneWith(third, nil), doneWith(got, note("a", "once")), doneWith(fourth, nil))
		time.Sleep(time.Minute)
		s.wantHanded(handed, "4")
		s.wantNotes(e, "once")
		s.closed(e)
	})},
	{"the earlier time first, and of one time the one that was accepted first", inBubble(func(s *suite) {
		e := s.open(Options{Batch: 2})
		handed := s.handed(e)
		for _, ev := range []struct {
			id    string
			after int // seconds
		}{{"d", 4}, {"c", 3}, {"a", 1}, {"e", 4}, {"b", 1}} {
			s.schedule(e, "a", ev.id, time.Duration(ev.after)*time.Second)
		}
		left := e
		if _, ok := s.db.(Durable); ok {
			left = s.crashed(Options{}) // one that was away meanwhile hands over the same
			s.handed(left)
		}
		time.Sleep(2 * time.Second)
		s.wantHanded(handed, "a", "b")
		time.Sleep(10 * time.Second)
		s.wantHanded(handed, "c", "d", "e")
		s.wantPending(e, "a", "a", "b", "c", "d", "e")
		s.wantPending(left, "a", "a", "b", "c", "d", "e")
		s.closed(e)
	})},
	{"a time that has passed is no wait", inBubble(func(s *suite) {
		e := s.open(Options{})
		handed := s.handed(e)
		ev := event("a", "1")
		ev.DeliverAt = time.Now().Add(-time.Minute)
		r, err := e.Append(s.Context(), ev)
		if err != nil || r.State != db.Pending {
			s.Fatalf("%+v, %v", r, err)
		}
		s.accept(e, event("a", "2"))
		if got := s.wantHanded(handed, "1", "2")[0]; got.Position != got.Seq {
			s.Errorf("%+v", got)
		}
		s.wantPending(e, "a", "1", "2")
		s.wantPending(s.reopened(e), "a", "1", "2")
		s.closed(e)
	})},
	{"a repeat has the same time", inBubble(func(s *suite) {
		e := s.open(Options{})
		s.handed(e)
		one := s.schedule(e, "a", "1", time.Minute)
		plain := s.accept(e, event("a", "plain"))
		later, without, late := one, one, event("a", "plain")
		later.DeliverAt, without.DeliverAt, late.DeliverAt = one.DeliverAt.Add(time.Microsecond), time.Time{}, one.DeliverAt
		same := func(state db.State) {
			s.Helper()
			r, err := e.Append(s.Context(), one)
			if err != nil || !r.Duplicate || r.Seq != one.Seq || r.State != state {
				s.Errorf("%+v, %v, want seq %d, %s", r, err, one.Seq, state)
			}
			if got, err := e.State(s.Context(), one.Seq); err != nil || got != state {
				s.Errorf("its state: %s, %v, want %s", got, err, state)
			}
			for ev, seq := range map[*db.Event]int64{&later: one.Seq, &without: one.Seq, &late: plain.Seq} {
				_, err := e.Append(s.Context(), *ev)
				results, berr := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{*ev, one}})
				if berr != nil {
					s.Fatal(berr)
				}
				for _, err := range []error{err, results[0].Err} {
					if reused, ok := errors.AsType[*db.IDReusedError](err); !ok || reused.Seq != seq {
						s.Errorf("at %v: %v, want seq %d", ev.DeliverAt, err, seq)
					}
				}
				if r := results[1]; r.Err != nil || !r.Receipt.Duplicate || r.Receipt.Seq != one.Seq {
					s.Errorf("in a batch: %+v", r)
				}
			}
		}
		same(db.Scheduled)
		time.Sleep(2 * time.Minute)
		same(db.Pending)
		s.settle(e, doneWith(s.head(e, "a"), nil), doneWith(s.pendingEvent(e, "a", 1), nil))
		same(db.Done)
		s.closed(e)
	})},
	{"what is scheduled is found, listed and counted", inBubble(func(s *suite) {
		e := s.open(Options{})
		s.handed(e)
		s.accept(e, event("a", "1"))
		ahead := s.schedule(e, "a", "ahead", 2*time.Minute)
		r, err := e.AppendBatch(s.Context(), db.Batch{Events: []db.Event{s.at(event("b", "ahead"), time.Minute)}})
		if err != nil || r[0].Receipt.State != db.Scheduled {
			s.Fatalf("%+v, %v", r, err)
		}
		if got := s.find(e, "a", "ahead"); got.State != db.Scheduled || !got.DeliverAt.Equal(ahead.DeliverAt) || got.Result != nil {
			s.Errorf("%+v", got)
		}
		ids := func(f db.Filter) (ids []string) {
			f.Limit = 10
			list, err := e.Events(s.Context(), f)
			if err != nil {
				s.Fatal(err)
			}
			for _, ev := range list {
				ids = append(ids, ev.ClientID+" "+ev.MessageID)
			}
			return ids
		}
		for _, c := range []struct {
			filter db.Filter
			want   []string
		}{
			{db.Filter{State: db.Scheduled}, []string{"a ahead", "b ahead"}},
			{db.Filter{State: db.Scheduled, Newest: true}, []string{"b ahead", "a ahead"}},
			{db.Filter{State: db.Scheduled, ClientID: "a"}, []string{"a ahead"}},
			{db.Filter{State: db.Scheduled, ClientID: "c"}, nil},
			{db.Filter{State: db.Pending}, []string{"a 1"}},
			{db.Filter{State: db.Pending, ClientID: "b"}, nil},
			{db.Filter{ClientID: "a"}, []string{"a 1", "a ahead"}},
		} {
			if got := ids(c.filter); !slices.Equal(got, c.want) {
				s.Errorf("%+v: %q, want %q", c.filter, got, c.want)
			}
		}
		counts := func(e Engine, scheduled, pending int) {
			s.Helper()
			if got := e.Stats(); got.Scheduled != scheduled || got.Pending != pending || (scheduled > 0) == got.NextDue.IsZero() {
				s.Errorf("%+v, want %d scheduled, %d pending", got, scheduled, pending)
			}
		}
		counts(e, 2, 1)
		if got := e.Stats().NextDue; got.After(time.Now().Add(time.Minute)) {
			s.Errorf("the next one is due at %v", got)
		}
		account := func(want int) {
			s.Helper()
			one, err := e.Account(s.Context(), "a")
			all, lerr := e.Accounts(s.Context(), db.AccountFilter{Limit: 10})
			if err := errors.Join(err, lerr); err != nil || one.Scheduled != want || all[0].Scheduled != want {
				s.Errorf("%+v, %+v, %v, want %d scheduled", one, all, err, want)
			}
		}
		account(1)
		counts(s.reopened(e), 2, 1)
		time.Sleep(90 * time.Second)
		counts(e, 1, 2)
		time.Sleep(time.Minute)
		counts(e, 0, 3)
		account(0)
		s.closed(e)
	})},
	{"what is scheduled is bounded, and a repeat needs no room", inBubble(func(s *suite) {
		e := s.open(Options{MaxPending: 3, MaxAccountPending: 2})
		s.acceptAll(e, "a", 2)
		one := s.schedule(e, "a", "x", time.Minute)
		s.schedule(e, "a", "y", time.Minute)
		_, err := e.Append(s.Context(), s.at(event("a", "z"), time.Minute))
		s.wantError(err, db.ErrAccountFull)
		if r, err := e.Append(s.Context(), one); err != nil || !r.Duplicate {
			s.Errorf("a repeat: %+v, %v", r, err)
		}
		s.execute(e, db.Command{Verb: db.Cancel, ClientID: "a", Seq: one.Seq})
		s.schedule(e, "a", "z", time.Minute)
		s.schedule(e, "b", "x", time.Minute)
		_, err = e.Append(s.Context(), s.at(event("c", "x"), time.Minute))
		s.wantError(err, db.ErrBacklogFull)
		s.accept(e, event("c", "now"))
	})},
	{"a scheduled event is cancelled", inBubble(func(s *suite) {
		e := s.open(Options{})
		handed := s.handed(e)
		first := s.accept(e, event("a", "1"))
		ahead, due := s.schedule(e, "a", "ahead", time.Minute), s.schedule(e, "a", "due", time.Second)
		ended := make(chan *db.Result, 1)
		go func() {
			r, _ := e.Wait(s.Context(), ahead.Seq, nil)
			ended <- r
		}()
		time.Sleep(2 * time.Second)
		for _, ev := range []db.Event{ahead, due} {
			cancel := db.Command{Verb: db.Cancel, ClientID: "a", Seq: ev.Seq, Reason: "not wanted"}
			s.execute(e, cancel)
			if r, err := e.Execute(s.Context(), cancel); err != nil || r.Changed {
				s.Errorf("again: %+v, %v", r, err)
			}
			if got := s.find(e, "a", ev.MessageID); got.State != db.Dead || got.Result.Error != "cancelled: not wanted" || got.Result.Run != 1 {
				s.Errorf("%+v %+v", got, got.Result)
			}
		}
		if r := <-ended; r == nil || r.Status != db.Dead {
			s.Errorf("who waits is told %+v", r)
		}
		time.Sleep(time.Minute)
		s.wantHanded(handed, "1", "due")
		s.wantPending(e, "a", "1")
		s.execute(e, db.Command{Verb: db.Redrive, Seq: ahead.Seq})
		s.wantPending(e, "a", "1", "ahead")
		s.settle(e, doneWith(first, nil))
		s.settle(e, doneWith(s.head(e, "a"), nil))
		_, err := e.Execute(s.Context(), db.Command{Verb: db.Cancel, ClientID: "a", Seq: ahead.Seq})
		s.wantError(err, db.ErrTooLate)
		s.closed(e)
	})},
	{"an erasure takes what is scheduled", inBubble(func(s *suite) {
		e := s.open(Options{})
		handed := s.handed(e)
		ahead := s.schedule(e, "a", "ahead", time.Minute)
		s.schedule(e, "a", "more", time.Minute)
		s.schedule(e, "b", "ahead", time.Minute)
		if r, err := e.Erase("a", "", ""); err != nil || r.Events != 2 || r.Pending != 2 {
			s.Errorf("%+v, %v", r, err)
		}
		_, err := e.Wait(s.Context(), ahead.Seq, nil)
		s.wantError(err, db.ErrNotFound)
		if got := e.Stats(); got.Scheduled != 1 {
			s.Errorf("%+v", got)
		}
		time.Sleep(2 * time.Minute)
		if got := s.wantHanded(handed, "ahead")[0]; got.ClientID != "b" {
			s.Errorf("%+v", got)
		}
		s.closed(e)
	})},
	{"an effect emits an event for later", inBubble(func(s *suite) {
		e := s.open(Options{})
		handed := s.handed(e)
		ev := s.accept(e, event("a", "1"))
		at := time.Now().Add(time.Minute)
		emits := func(fails error) db.Effect {
			return func(tx db.Tx) (any, error) {
				for _, duplicate := range []bool{false, true} {
					r, err := tx.EmitReceipt(db.Event{ClientID: "b", MessageID: "of 1", Type: "note", Payload: []byte("2"), DeliverAt: at})
					if err != nil || r.State != db.Scheduled || r.Duplicate != duplicate {
						return nil, fmt.Errorf("receipt %+v, %w", r, err)
					}
				}
				for _, other := range []time.Time{{}, at.Add(time.Microsecond)} {
					err := tx.Emit(db.Event{ClientID: "b", MessageID: "of 1", Type: "note", Payload: []byte("2"), DeliverAt: other})
					if _, ok := errors.AsType[*db.IDReusedError](err); !ok {
						return nil, fmt.Errorf("for %v: %w", other, err)
					}
				}
				return nil, fails
			}
		}
		if n, err := e.Settle([]db.Settlement{doneWith(ev, emits(errPlannedEffect))}); n != 0 || !errors.Is(err, errPlannedEffect) {
			s.Fatal(n, err)
		}
		if got := e.Stats(); got.Scheduled != 0 {
			s.Errorf("emitted by what failed: %+v", got)
		}
		s.settle(e, doneWith(ev, emits(nil)))
		s.wantHanded(handed, "1")
		time.Sleep(2 * time.Minute)
		s.wantHanded(handed, "of 1")
		s.closed(e)
	})},
	{"retention leaves what is scheduled", inBubble(func(s *suite) {
		e := s.open(Options{})
		s.handed(e)
		one := s.schedule(e, "a", "1", 48*time.Minute)
		s.schedule(e, "a", "2", 24*time.Minute)
		time.Sleep(25 * time.Minute)
		s.settle(e, doneWith(s.head(e, "a"), nil))
		time.Sleep(2 * time.Minute)
		s.retain(e, time.Minute)
		_, err := e.Find(s.Context(), "a", "2")
		s.wantError(err, db.ErrNotFound)
		if got := s.find(e, "a", "1"); got.State != db.Scheduled || got.Seq != one.Seq {
			s.Errorf("%+v", got)
		}
		s.accept(e, event("a", "2")) // without a time: it is new
		s.closed(e)
	})},
	{"what was due while nothing ran is handed over, not lost between Open and OnAppend", inBubble(func(s *suite) {
		e := s.open(Options{})
		pending := s.accept(e, event("a", "1"))
		s.schedule(e, "a", "2", time.Minute)
		s.schedule(e, "b", "1", time.Minute)
		s.schedule(e, "b", "2", 48*time.Minute)
		d := s.durable()
		if err := e.Close(); err != nil {
			s.Fatal(err)
		}
		time.Sleep(24 * time.Minute)
		e = s.openOf(d, Options{})
		time.Sleep(time.Minute) // until somebody listens
		backlog, _, _ := e.Backlog()
		if len(backlog) != 1 || backlog[0].ClientID != "a" || backlog[0].Events != 1 || backlog[0].HeadPosition != pending.Position {
			s.Errorf("the backlog is %+v", backlog)
		}
		s.wantHanded(s.handed(e), "2", "1")
		s.wantPending(e, "a", "1", "2")
		s.wantPending(e, "b", "1")
		s.closed(e)
	})},
	{"what was due while nothing ran is run at the start, once and in order", inBubble(func(s *suite) {
		e := s.open(Options{})
		s.accept(e, event("a", "1"))
		s.schedule(e, "a", "3", 2*time.Minute)
		s.schedule(e, "a", "2", time.Minute)
		s.schedule(e, "b", "4", 3*time.Minute)
		d := s.durable()
		if err := e.Close(); err != nil {
			s.Fatal(err)
		}
		time.Sleep(24 * time.Minute)
		e = s.openOf(d, Options{})
		time.Sleep(time.Minute)
		var ran []string
		set, err := functions.NewSet(functions.New("note", func(_ context.Context, ev functions.Event, _ struct{}) (functions.Effect, error) {
			return func(functions.Tx) (any, error) { ran = append(ran, ev.MessageID); return nil, nil }, nil
		}))
		if err != nil {
			s.Fatal(err)
		}
		stop := s.runs(e, set)
		time.Sleep(time.Minute)
		stop()
		if b := slices.Index(ran, "4"); b < 0 || !slices.Equal(slices.Delete(ran, b, b+1), []string{"1", "2", "3"}) {
			s.Errorf("ran: %q", ran)
		}
		s.wantPending(e, "a")
		s.closed(e)
	})},
	{"an owner that lost the database makes nothing pending", inBubble(func(s *suite) {
		e := s.open(Options{})
		s.schedule(e, "a", "1", time.Minute)
		handed := s.handed(e)
		d := s.durable()
		if err := d.Steal(s.Context()); err != nil {
			s.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		s.wantHanded(handed)
		<-e.Failed()
		s.wantError(e.Err(), db.ErrFenced)
	})},
}
