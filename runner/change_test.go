package runner

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

// tell hands a change over as a commit would.
func (g *rig) tell(c db.Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.say(c)
}

// say is tell with mu held.
func (g *rig) say(c db.Change) {
	if c.Attempts == 0 && !c.Parked {
		delete(g.holds, c.ClientID)
	}
	g.r.Changed([]db.Change{c})
}

func TestPause(t *testing.T) {
	for name, c := range map[string]db.Change{"account": {ClientID: "a"}, "type": {Type: "f"}, "everything": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var m meter
				g := newRig(t, Options{}, fn("f", m.sleeper(time.Second)), fn("other", m.sleeper(time.Second))).start(nil, false)
				on := c
				on.Paused = true
				g.commit(append(series("a", "f", 5, 10), event("b", "0", "other", 10))...)
				g.sleep(1500 * time.Millisecond) // the second one runs
				g.tell(on)
				g.commit(event("a", "5", "f", 10))
				g.sleep(time.Hour)
				if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(2)) {
					t.Errorf("settled %v, want what had begun: 0 and 1", got)
				}
				g.commit(event("b", "1", "other", 10), event("c", "0", "f", 10))
				g.sleep(time.Hour)
				other, same := len(g.fakeStore.ended("b")), len(g.fakeStore.ended("c"))
				if want := map[string][2]int{"account": {2, 1}, "type": {2, 0}, "everything": {1, 0}}[name]; [2]int{other, same} != want {
					t.Errorf("%d of another type and account, %d of another account were settled, want %v", other, same, want)
				}
				g.tell(c)
				g.sleep(time.Hour)
				if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(6)) {
					t.Errorf("after the pause settled %v", got)
				}
				g.books()
			})
		})
	}
}

// Pauses overlap: an account runs once the last of them has ended.
func TestPausesOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{}, fn("f", func(context.Context, db.Event) error { return nil }))
		g.commit(event("a", "0", "f", 10))
		g.cold()
		g.r.Start([]db.Backlog{{ClientID: "a", Events: 1, Paused: true}, {ClientID: "b", Paused: true}}, []string{"f", ""}, false)
		g.start(nil, false)
		g.commit(event("b", "0", "f", 10))
		for _, c := range []db.Change{{}, {ClientID: "a"}, {ClientID: "a", Paused: true}, {Type: "f"}, {ClientID: "b"}} {
			g.tell(c)
			g.sleep(time.Minute)
			if n := len(g.fakeStore.ended("a")); n != 0 {
				t.Fatalf("after %+v the account runs", c)
			}
			if n := len(g.fakeStore.ended("b")); n != 0 && c.ClientID != "b" {
				t.Fatalf("after %+v the account runs that was empty when it was paused", c)
			}
		}
		if n := len(g.fakeStore.ended("b")); n != 1 {
			t.Errorf("the account that was empty when it was paused has settled %d, want 1", n)
		}
		g.tell(db.Change{ClientID: "a"})
		g.sleep(time.Minute)
		if n := len(g.fakeStore.ended("a")); n != 1 {
			t.Errorf("settled %d, want 1", n)
		}
		g.books()
	})
}

func TestPauseEndsASlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *rig
		calls := 0
		g = newRig(t, Options{}, fn("f", func(context.Context, db.Event) error {
			if calls++; calls == 3 {
				g.tell(db.Change{ClientID: "a", Paused: true})
			}
			return nil
		}, functions.Pure())).start(nil, false)
		g.commit(series("a", "f", 20, 10)...)
		g.sleep(time.Hour)
		if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(3)) || calls != 3 {
			t.Errorf("settled %v after %d calls, want the three that had begun", got, calls)
		}
		g.tell(db.Change{ClientID: "a"})
		g.sleep(time.Hour)
		if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(20)) {
			t.Errorf("settled %v", got)
		}
		g.books()
	})
}

// A retry of an event that waits lets it run at once, its attempts fresh.
func TestRetryOfOneThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []int
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			attempts = append(attempts, ev.Attempt)
			return functions.Retry(time.Hour, errTest)
		}, functions.WithPolicy(functions.Policy{Attempts: 2}))).start(nil, false)
		g.commit(event("a", "0", "f", 10))
		for range 3 {
			g.settle()
			g.tell(db.Change{ClientID: "a"})
		}
		g.sleep(time.Hour + time.Second) // parked by now
		g.tell(db.Change{ClientID: "a"})
		g.settle()
		if want := []int{1, 1, 1, 1, 2, 1}; !reflect.DeepEqual(attempts, want) {
			t.Errorf("attempts %v, want %v", attempts, want)
		}
	})
}

// A retry that is committed while the head runs makes the attempt that runs the first.
func TestRetryWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *rig
		n := 0
		g = newRig(t, Options{}, fn("f", func(context.Context, db.Event) error {
			if n++; n == 3 {
				g.tell(db.Change{ClientID: "a"})
			}
			return errTest
		}, functions.WithPolicy(functions.Policy{Attempts: 3}))).start(nil, false)
		g.commit(event("a", "0", "f", 10))
		g.sleep(time.Hour)
		if h, _ := g.held("a"); n != 5 || !h.Park || h.Attempts != 3 {
			t.Errorf("%d calls, held %+v; want it parked after two and three", n, h)
		}
	})
}

// An act that is committed between a failure's Hold and the moment at which its lease
// hears of that is the later word.
func TestActsBesideAHold(t *testing.T) {
	for name, act := range map[string]db.Change{"retry": {ClientID: "a"}, "pause": {ClientID: "a", Parked: true, Attempts: 1, Paused: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				g := newRig(t, Options{}, fn("f", func(context.Context, db.Event) error {
					if calls++; calls == 1 {
						return errTest
					}
					return nil
				}, functions.WithPolicy(functions.Policy{Attempts: 1})))
				g.held1 = func() { g.say(act) }
				g.start(nil, false)
				g.commit(event("a", "0", "f", 10))
				g.sleep(time.Hour)
				if name == "retry" {
					if calls != 2 {
						t.Errorf("%d calls: the retry is lost", calls)
					}
					return
				}
				g.tell(db.Change{ClientID: "a", Paused: true}) // a retry of the paused one
				g.sleep(time.Hour)
				if calls != 1 {
					t.Errorf("%d calls although it is paused", calls)
				}
				g.tell(db.Change{ClientID: "a"})
				g.sleep(time.Hour)
				if calls != 2 {
					t.Errorf("%d calls after the pause", calls)
				}
			})
		})
	}
}

// TestWaitingAccountsCostThePollersNothing counts looks at lanes, not time.
func TestWaitingAccountsCostThePollersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, events = 1000, 500
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			switch {
			case strings.HasPrefix(ev.ClientID, "parked"):
				return functions.Park(errTest)
			case strings.HasPrefix(ev.ClientID, "retrying"):
				return functions.Retry(24*time.Hour, errTest)
			}
			return nil
		}), fn("held", func(context.Context, db.Event) error { return nil })).start(nil, false)
		g.tell(db.Change{Type: "held", Paused: true})
		for i := range n {
			g.tell(db.Change{ClientID: fmt.Sprint("paused", i), Paused: true})
			for _, kind := range []string{"parked", "retrying", "paused"} {
				g.commit(event(fmt.Sprint(kind, i), "0", "f", 10))
			}
			g.commit(event(fmt.Sprint("type", i), "0", "held", 10))
		}
		g.sleep(time.Minute)
		looks := func() int { return g.stats().Examined }
		before := looks()
		if before > 4*n {
			t.Errorf("%d looks until all %d were aside", before, 4*n)
		}
		for i := range events {
			g.commit(event("healthy", fmt.Sprint(i), "f", 10))
			g.settle()
		}
		if got := looks() - before; got != events || len(g.fakeStore.ended("healthy")) != events {
			t.Errorf("%d looks for %d events of a healthy account beside %d that wait", got, events, 4*n)
		}
		// A pause that comes while the lane stands in the queue costs one look.
		g.tell(db.Change{Paused: true})
		for i := range n {
			g.commit(event(fmt.Sprint("late", i), "0", "f", 10))
			g.tell(db.Change{ClientID: fmt.Sprint("late", i), Paused: true})
		}
		before = looks()
		g.tell(db.Change{})
		for i := range events {
			g.commit(event("healthy", fmt.Sprint(events+i), "f", 10))
			g.settle()
		}
		if got := looks() - before; got != n+events {
			t.Errorf("%d looks for %d events beside %d that were paused in the queue", got, events, n)
		}
	})
}

func TestExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := func(_ context.Context, ev db.Event) error {
			if ev.MessageID == "0" {
				return errTest
			}
			return nil
		}
		g := newRig(t, Options{},
			fn("dies", fails, functions.WithPolicy(functions.Policy{Attempts: 3, Exhausted: functions.ThenDead})),
			fn("parks", fails, functions.WithPolicy(functions.Policy{Attempts: 3}))).start(nil, false)
		g.commit(append(series("a", "dies", 2, 10), series("b", "parks", 2, 10)...)...)
		g.sleep(time.Hour)
		g.mu.Lock()
		defer g.mu.Unlock()
		if s := g.settled["a"]; len(s) != 2 || s[0].Status != db.Dead || s[0].Event.Attempt != 3 || s[0].Error != errTest.Error() || s[1].Status != db.Done {
			t.Errorf("dies: settled %+v", s)
		}
		if h := g.holds["b"]; len(g.settled["b"]) != 0 || !h.Park || h.Attempts != 3 {
			t.Errorf("parks: %+v", h)
		}
	})
}

// A hanging account takes one place and no more, and its own policy frees that.
func TestHangingAccountsTakeTheirPlacesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hung, healthy atomic.Int64
		var once sync.Once
		release := make(chan struct{})
		g := newRig(t, Options{InFlight: 40}, fn("f", func(_ context.Context, ev db.Event) error {
			if strings.HasPrefix(ev.ClientID, "hangs") {
				hung.Add(1)
				<-release // ignores its context
				return errTest
			}
			time.Sleep(time.Second)
			healthy.Add(1)
			return nil
		})).start(nil, false)
		defer once.Do(func() { close(release) })
		for i := range 10 {
			g.commit(series(fmt.Sprint("hangs", i), "f", 5, 10)...)
		}
		for i := range 300 {
			g.commit(event(fmt.Sprint("healthy", i), "0", "f", 10))
		}
		g.sleep(10*time.Second + time.Millisecond)
		if healthy.Load() != 300 || hung.Load() != 10 {
			t.Errorf("%d healthy events in ten seconds on the 30 places that are left, want 300; %d hang", healthy.Load(), hung.Load())
		}
		once.Do(func() { close(release) })
	})
}

// What an operator has paused does not keep a process awake that ends when it is idle.
func TestPausedIsNotBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{}, fn("f", func(context.Context, db.Event) error { return nil }), fn("g", func(context.Context, db.Event) error { return nil })).start(nil, false)
		g.tell(db.Change{ClientID: "a", Paused: true})
		g.tell(db.Change{Type: "g", Paused: true})
		g.commit(event("a", "0", "f", 10), event("b", "0", "g", 10))
		g.settle()
		if g.r.Busy() {
			t.Error("busy with a paused account and a paused type")
		}
		g.tell(db.Change{Paused: true})
		g.commit(event("c", "0", "f", 10))
		g.settle()
		if g.r.Busy() {
			t.Error("busy although everything is paused")
		}
	})
}
