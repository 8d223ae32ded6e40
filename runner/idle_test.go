package runner

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

// Busy says yes as long as something runs, could run, or will run by itself.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		retries := fn("retries", func(_ context.Context, ev db.Event) error {
			if ev.Attempt == 1 {
				return functions.Retry(time.Hour, errTest)
			}
			return nil
		})
		parks := fn("parks", func(context.Context, db.Event) error { return errTest }, functions.WithPolicy(functions.Policy{Attempts: 1}))
		g := newRig(t, Options{}, fn("one", m.sleeper(time.Minute), functions.MaxConcurrent(1)), retries, parks)
		want := func(busy bool, when string) {
			t.Helper()
			g.settle()
			if got := g.r.Busy(); got != busy {
				t.Errorf("%s: busy %t", when, got)
			}
		}
		want(false, "at first")
		g.commit(event("early", "0", "retries", 10))
		want(true, "before anything runs")
		g.start(nil, false)
		want(true, "while an account waits for its next attempt")
		g.sleep(time.Hour + time.Second)
		want(false, "after the second attempt")

		g.commit(event("a", "0", "one", 10))
		g.commit(event("b", "0", "one", 10))
		want(true, "while one runs and one waits for its slot")
		g.sleep(90 * time.Second)
		want(true, "while the other runs")
		g.sleep(time.Minute)
		want(false, "after both")

		g.commit(event("c", "0", "parks", 10), event("c", "1", "parks", 10))
		want(false, "while an account is parked")
		g.commit(event("c", "2", "parks", 10))
		want(false, "while a parked account gets more")

		change := func(c db.Change) { g.r.Changed([]db.Change{c}) }
		change(db.Change{ClientID: "d", Paused: true})
		g.commit(event("d", "0", "one", 10))
		want(false, "while an account with events is paused")
		change(db.Change{ClientID: "d"})
		want(true, "when it goes on")
		g.sleep(time.Minute + time.Second)
		want(false, "after it")

		change(db.Change{Type: "one", Paused: true})
		g.commit(event("e", "0", "one", 10))
		want(false, "while its type is paused")
		change(db.Change{Type: "one"})
		want(true, "when the type goes on")
		change(db.Change{Paused: true})
		g.commit(event("f", "0", "one", 10))
		want(true, "while everything is paused, and something runs")
		g.sleep(time.Minute + time.Second)
		want(false, "while everything is paused")
	})
}
