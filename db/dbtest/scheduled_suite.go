package dbtest

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
)

// inBubble runs a case in a bubble of testing/synctest.
func inBubble(run func(s *suite)) func(*suite) {
	return func(s *suite) {
		s.scheduler(s.open(Options{})).Close()
		synctest.Test(s.T, func(t *testing.T) { run(&suite{T: t, empty: s.empty}) })
	}
}

// scheduler returns e as a Scheduler, or skips the case.
func (s *suite) scheduler(e Engine) Scheduler {
	s.Helper()
	sched, ok := e.(Scheduler)
	if !ok {
		s.Skip("this engine takes no events for later yet")
	}
	return sched
}

// at returns ev with a DeliverAt so far ahead.
func (s *suite) at(ev db.Event, ahead time.Duration) db.Event {
	ev.DeliverAt = time.Now().Add(ahead).UTC().Truncate(time.Microsecond)
	return ev
}

// schedule appends an event for later.
func (s *suite) schedule(e Engine, client, message string, ahead time.Duration) db.Event {
	s.Helper()
	ev := s.at(event(client, message), ahead)
	r, err := e.Append(s.Context(), ev)
	if err != nil || r.Duplicate || r.Seq == 0 || r.State != db.Scheduled || r.Result != nil {
		s.Fatalf("schedule %s %s: %+v, %v", client, message, r, err)
	}
	ev.Seq = r.Seq
	return ev
}

// handed returns what is handed over from now on, in order.
func (s *suite) handed(e Engine) <-chan db.Event {
	ch := make(chan db.Event, 100)
	e.OnAppend(func(events []db.Event) {
		for _, ev := range events {
			ch <- ev
		}
	})
	return ch
}

// wantHanded wants that exactly these events, by their ids, have been handed over since it
// was last asked.
func (s *suite) wantHanded(ch <-chan db.Event, want ...string) (events []db.Event) {
	s.Helper()
	synctest.Wait()
	ids := []string{}
	for len(ch) > 0 {
		ev := <-ch
		events, ids = append(events, ev), append(ids, ev.MessageID)
	}
	if !slices.Equal(ids, append([]string{}, want...)) {
		s.Fatalf("handed over: %q, want %q", ids, want)
	}
	return events
}

// pendingEvent returns an account's pending event after so many others, as the runner would
// get it.
func (s *suite) pendingEvent(e Engine, client string, after int) db.Event {
	s.Helper()
	events, _, err := e.PendingAfter(s.Context(), client, -1<<63, 1000, 1<<30)
	if err != nil || len(events) <= after {
		s.Fatalf("pending of %s: %d events, %v", client, len(events), err)
	}
	events[after].Attempt = 1
	return events[after]
}

// retain lets retention work for some minutes of the bubble.
func (s *suite) retain(e Engine, age time.Duration) {
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Retain(ctx, age)
	}()
	time.Sleep(2 * time.Minute)
	cancel()
	<-ended
}
