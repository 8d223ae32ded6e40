package runner

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

func TestMaxConcurrentBoundsCallsOfAllAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m, other meter
		g := newRig(t, Options{}, fn("f", m.sleeper(time.Second), functions.MaxConcurrent(2)),
			fn("free", other.sleeper(time.Second))).start(nil, false)
		for a := range 6 {
			g.commit(series(fmt.Sprint("c", a), "f", 2, 10)...)
			g.commit(event(fmt.Sprint("d", a), "0", "free", 10))
		}
		g.settle()
		if m.running() != 2 || other.running() != 6 {
			t.Errorf("%d calls of the bounded function and %d of the other run, want 2 and 6", m.running(), other.running())
		}
		g.sleep(6 * time.Second)
		if m.most != 2 || len(m.seen) != 12 {
			t.Errorf("at most %d calls ran, %d in all, want 2 and 12", m.most, len(m.seen))
		}
		// In turn: nobody's second call comes before somebody's first.
		for i, s := range m.seen {
			if want := s[len(s)-1:]; (i < 6) != (want == "0") {
				t.Errorf("the calls came in the order %v", m.seen)
				break
			}
		}
		g.books()
	})
}

// Whatever ends a call, its slot goes to exactly one other.
func TestSlotsAreNeverLostOrDoubled(t *testing.T) {
	for name, work := range map[string]func(ev db.Event) error{
		"error":           func(ev db.Event) error { return errTest },
		"retry at once":   func(ev db.Event) error { return functions.Retry(0, errTest) },
		"reject":          func(ev db.Event) error { return functions.Reject(errTest) },
		"panic":           func(ev db.Event) error { panic("boom") },
		"goexit":          func(ev db.Event) error { runtime.Goexit(); return nil },
		"context ignored": func(ev db.Event) error { time.Sleep(time.Hour); return errTest },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var m meter
				g := newRig(t, Options{Pollers: 4}, fn("f", func(_ context.Context, ev db.Event) error {
					defer m.in(ev)()
					time.Sleep(time.Millisecond)
					if ev.Attempt < 3 && ev.MessageID == "0" {
						return work(ev)
					}
					return nil
				}, functions.MaxConcurrent(2))).start(nil, false)
				for a := range 8 {
					g.commit(series(fmt.Sprint("c", a), "f", 3, 10)...)
				}
				g.sleep(24 * time.Hour)
				if m.most > 2 {
					t.Errorf("%d calls ran at once, want 2", m.most)
				}
				for a := range 8 {
					if got := g.fakeStore.ended(fmt.Sprint("c", a)); !reflect.DeepEqual(got, ids(3)) {
						t.Errorf("account %d settled %v", a, got)
					}
				}
				g.books()
			})
		})
	}
}

// A lease must give its slot back before somebody else can have the lane: here the
// lane's next lease begins at once, and there are slots enough for both.
func TestSlotIsFreedBeforeTheLaneIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{Pollers: 8}, fn("f", func(_ context.Context, ev db.Event) error {
			if ev.Attempt < 15 {
				return functions.Retry(0, errTest)
			}
			return nil
		}, functions.MaxConcurrent(100))).start(nil, false)
		for a := range 50 {
			g.commit(event(fmt.Sprint("c", a), "0", "f", 10))
		}
		g.sleep(time.Hour)
		for a := range 50 {
			if len(g.fakeStore.ended(fmt.Sprint("c", a))) != 1 {
				t.Errorf("account %d never ran to its end", a)
			}
		}
		g.books()
	})
}

// An account that waits for its next attempt keeps no slot from the others.
func TestSlotIsGivenBackAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parks := true
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			switch {
			case ev.ClientID == "retries" && ev.Attempt == 1:
				return functions.Retry(time.Hour, errTest)
			case ev.ClientID == "parks" && parks:
				parks = false
				return functions.Park(errTest)
			}
			return nil
		}, functions.MaxConcurrent(1))).start(nil, false)
		for _, c := range []string{"retries", "parks", "good"} {
			g.commit(event(c, "0", "f", 10))
			g.settle()
		}
		if len(g.fakeStore.ended("good")) != 1 {
			t.Error("an account waits for the slot of one that has failed")
		}
		g.tell(db.Change{ClientID: "parks"})
		g.sleep(2 * time.Hour)
		g.books()
	})
}

// The head of an account that waits for a slot may be ended by somebody else, so
// that it needs another function's slot, or none, or nothing is left.
func TestHandedSlotThatIsNotNeededAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		hold := m.sleeper(time.Second)
		g := newRig(t, Options{HotBytes: 4 << 10, InFlight: 2}, // so small that who waits is forgotten
			fn("f", hold, functions.MaxConcurrent(1)), fn("g", hold, functions.MaxConcurrent(1)), fn("free", hold)).start(nil, false)
		g.commit(series("first", "f", 1, 2000)...)
		g.settle()
		heads := map[string]db.Event{}
		for c, next := range map[string]string{"to-g": "g", "to-free": "free", "to-nothing": ""} {
			evs := []db.Event{event(c, "head", "f", 2000)}
			if next != "" {
				evs = append(evs, event(c, "next", next, 10))
			}
			g.commit(evs...)
			g.settle()
			heads[c] = evs[0]
		}
		for _, ev := range heads {
			g.skip(ev)
		}
		g.commit(event("last", "0", "f", 10))
		g.sleep(time.Minute)
		for c, want := range map[string][]string{"to-g": {"next"}, "to-free": {"next"}, "to-nothing": {}, "last": {"0"}} {
			if got := g.fakeStore.ended(c); !reflect.DeepEqual(got, want) {
				t.Errorf("%s settled %v, want %v", c, got, want)
			}
		}
		g.books()
	})
}

// A slot that is handed to an account that retries is used, also while the quarter
// of those that retry is full: else it would hold up the function's other accounts.
func TestHandedSlotIsNotHeldUpByTheQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var m meter
		quick := m.sleeper(time.Second)
		g := newRig(t, Options{InFlight: 8},
			fn("stuck", func(_ context.Context, ev db.Event) error {
				if ev.Attempt > 1 {
					<-release
				}
				return functions.Retry(0, errTest)
			}),
			fn("f", func(ctx context.Context, ev db.Event) error {
				if ev.ClientID == "again" && ev.Attempt == 1 {
					return functions.Retry(0, errTest)
				}
				return quick(ctx, ev)
			}, functions.MaxConcurrent(1))).start(nil, false)
		t.Cleanup(func() { close(release) })
		g.commit(event("s1", "0", "stuck", 10)) // half of the quarter
		g.commit(event("b0", "0", "f", 10))     // takes the slot
		g.settle()
		g.commit(event("again", "0", "f", 10)) // waits for it
		g.settle()
		g.commit(event("b1", "0", "f", 10)) // waits behind
		g.sleep(1500 * time.Millisecond)    // again has failed, and waits once more, behind b1
		g.commit(event("s2", "0", "stuck", 10), event("b2", "0", "f", 10))
		g.sleep(time.Minute)
		for _, c := range []string{"b0", "again", "b1", "b2"} {
			if len(g.fakeStore.ended(c)) != 1 {
				t.Errorf("%s did not run", c)
			}
		}
	})
}
