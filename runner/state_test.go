package runner

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, gate := make(chan struct{}), make(chan struct{})
		once := functions.WithPolicy(functions.Policy{Attempts: 1})
		g := newRig(t, Options{InFlight: 16},
			fn("waits", func(context.Context, db.Event) error { <-release; return nil }, functions.MaxConcurrent(1), functions.WithPolicy(functions.Policy{Timeout: time.Hour})),
			fn("ignores", func(context.Context, db.Event) error { <-gate; return nil }, functions.WithPolicy(functions.Policy{Timeout: time.Second})),
			fn("fails", func(context.Context, db.Event) error { return functions.Retry(time.Hour, errTest) }),
			fn("ends", func(context.Context, db.Event) error { return errTest }, once),
		).start(nil, false)
		state := func(clientID string, want State) {
			t.Helper()
			if got := g.r.State(clientID); got != want {
				t.Errorf("%s is %s, want %s", clientID, got, want)
			}
		}
		state("nobody", Idle)
		g.commit(event("paused", "0", "waits", 10))
		g.settle()
		g.tell(db.Change{ClientID: "paused", Paused: true})
		state("paused", Running)
		if !g.r.Running("paused", 1) || g.r.Running("paused", 2) || g.r.Running("nobody", 1) {
			t.Error("event 1 of paused runs, and no other")
		}
		release <- struct{}{}
		g.settle()
		state("paused", Idle)
		if g.r.Running("paused", 1) {
			t.Error("event 1 of paused is settled, and runs")
		}
		g.commit(event("paused", "1", "waits", 10))
		g.settle()
		state("paused", Ready)
		g.tell(db.Change{ClientID: "paused"})
		g.settle()
		state("paused", Running)
		g.tell(db.Change{Paused: true}) // everything
		release <- struct{}{}
		g.settle()
		state("paused", Idle)
		g.tell(db.Change{})
		for _, id := range []string{"waits", "ignores", "fails", "ends"} {
			g.commit(event(id, "0", id, 10))
		}
		g.settle()
		g.commit(event("behind", "0", "waits", 10))
		g.sleep(500 * time.Millisecond)
		state("waits", Running)
		state("behind", Ready)
		state("ignores", Running)
		state("fails", Retrying)
		state("ends", Parked)
		g.sleep(time.Second)
		state("waits", Running)
		state("ignores", Stuck)
		g.commit(event("ignores", "1", "ignores", 10))
		gate <- struct{}{}
		g.settle()
		state("ignores", Running)
		gate <- struct{}{}
		close(release)
		g.settle()
		state("waits", Idle)
		state("behind", Idle)
		state("ignores", Idle)
	})
}
