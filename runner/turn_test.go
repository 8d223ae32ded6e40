package runner

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

// meter counts who is inside a function.
type meter struct {
	mu     sync.Mutex
	inside map[string]int
	now    int
	most   int
	twice  bool
	seen   []string // client/message in the order of starts
}

func (m *meter) in(ev db.Event) func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inside == nil {
		m.inside = map[string]int{}
	}
	m.inside[ev.ClientID]++
	m.twice = m.twice || m.inside[ev.ClientID] > 1
	m.now++
	m.most = max(m.most, m.now)
	m.seen = append(m.seen, ev.ClientID+"/"+ev.MessageID)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.inside[ev.ClientID]--
		m.now--
	}
}

// running is how many are inside now.
func (m *meter) running() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *meter) sleeper(d time.Duration) func(context.Context, db.Event) error {
	return func(ctx context.Context, ev db.Event) error {
		defer m.in(ev)()
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestOneAtATimeInOrderAndAccountsInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		g := newRig(t, Options{}, fn("f", m.sleeper(time.Second))).start(nil, false)
		const accounts, each = 20, 10
		for i := range each {
			for a := range accounts {
				g.commit(event(fmt.Sprint("c", a), fmt.Sprint(i), "f", 10))
			}
		}
		begin := time.Now()
		g.sleep(each * time.Second)
		if m.twice {
			t.Error("two events of one account ran at the same time")
		}
		if m.most != accounts {
			t.Errorf("at most %d accounts ran at the same time, want %d", m.most, accounts)
		}
		for a := range accounts {
			if got := g.fakeStore.ended(fmt.Sprint("c", a)); !reflect.DeepEqual(got, ids(each)) {
				t.Errorf("account %d settled %v after %v", a, got, time.Since(begin))
			}
		}
		for a := range accounts {
			for i, it := range g.settled[fmt.Sprint("c", a)] {
				if want := begin.Add(time.Duration(i) * time.Second); it.StartedAt.Before(want) {
					t.Errorf("event %d of account %d started at %v, before the one before it had ended", i, a, it.StartedAt.Sub(begin))
				}
			}
		}
		g.books()
	})
}

func TestInFlightBoundsAccountsInsideFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		g := newRig(t, Options{InFlight: 3}, fn("f", m.sleeper(time.Second))).start(nil, false)
		for a := range 10 {
			g.commit(event(fmt.Sprint("c", a), "0", "f", 10))
		}
		g.sleep(4 * time.Second)
		if m.most != 3 {
			t.Errorf("%d accounts were inside functions at once, want 3", m.most)
		}
		if len(m.seen) != 10 {
			t.Errorf("%d of 10 accounts ran", len(m.seen))
		}
		g.books()
	})
}

// A turn passes on after Slice events, or 250 ms, and only if others wait.
func TestSlices(t *testing.T) {
	for _, tc := range []struct {
		name  string
		takes time.Duration
		slice int
		first string // the deep account's first event after the other one's
	}{
		{"by events", time.Millisecond, 5, "deep/5"},
		{"by time", 100 * time.Millisecond, 64, "deep/3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var m meter
				g := newRig(t, Options{InFlight: 1, Slice: tc.slice}, fn("f", m.sleeper(tc.takes))).start(nil, false)
				g.commit(series("deep", "f", 20, 10)...)
				g.commit(event("other", "0", "f", 10))
				g.sleep(time.Minute)
				for i, s := range m.seen {
					if s == "other/0" {
						if m.seen[i+1] != tc.first {
							t.Errorf("after the other account's event came %s, want %s", m.seen[i+1], tc.first)
						}
						break
					}
				}
				if len(m.seen) != 21 {
					t.Errorf("%d of 21 events ran", len(m.seen))
				}
				g.books()
			})
		})
	}
}

func TestSliceIsNotOverWhileNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{InFlight: 1, Slice: 2}, fn("f", func(context.Context, db.Event) error { return nil })).start(nil, false)
		g.commit(series("a", "f", 10, 10)...)
		g.books()
		if n := g.stats().Examined; n != 1 {
			t.Errorf("the account was leased %d times, want once: its turn was passed on to nobody", n)
		}
	})
}

// A deep, a failing and a stuck account don't keep the others from running.
func TestNoAccountStarvesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		g := newRig(t, Options{InFlight: 8, HotBytes: 64 << 10},
			fn("quick", func(context.Context, db.Event) error { return nil }),
			fn("fails", func(context.Context, db.Event) error { return errTest }),
			fn("stuck", func(context.Context, db.Event) error { <-stuck; return errTest }),
		).start(nil, false)
		t.Cleanup(func() { close(stuck) })
		for i := range 4 {
			g.commit(series(fmt.Sprint("stuck", i), "stuck", 200, 100)...)
			g.commit(series(fmt.Sprint("fails", i), "fails", 200, 100)...)
		}
		g.commit(series("deep", "quick", 1000, 100)...)
		for i := range 100 {
			g.commit(event(fmt.Sprint("c", i), "0", "quick", 100))
		}
		g.settle()
		for i := range 100 {
			if len(g.fakeStore.ended(fmt.Sprint("c", i))) != 1 {
				t.Fatalf("account %d has to wait for others", i)
			}
		}
		if n := len(g.fakeStore.ended("deep")); n != 1000 {
			t.Errorf("%d of 1000 events of the deep account ran", n)
		}
	})
}

// Accounts that retry get at most a quarter of InFlight.
func TestRetriesGetAQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		again := m.sleeper(time.Hour)
		g := newRig(t, Options{InFlight: 8},
			fn("f", func(ctx context.Context, ev db.Event) error {
				if ev.Attempt == 1 {
					return functions.Retry(time.Second, errTest)
				}
				return again(ctx, ev)
			}, functions.WithPolicy(functions.Policy{Timeout: 2 * time.Hour})),
			fn("quick", func(context.Context, db.Event) error { return nil }),
		).start(nil, false)
		for a := range 20 {
			g.commit(event(fmt.Sprint("c", a), "0", "f", 10))
		}
		g.sleep(time.Minute)
		if m.running() != 2 {
			t.Errorf("%d accounts that retry are inside functions, want a quarter of 8", m.running())
		}
		g.commit(event("healthy", "0", "quick", 10))
		g.settle()
		if len(g.fakeStore.ended("healthy")) != 1 {
			t.Error("a healthy account has to wait for those that retry")
		}
		g.sleep(10 * time.Hour)
		if len(m.seen) != 20 {
			t.Errorf("%d of 20 second attempts ran", len(m.seen))
		}
		g.books()
	})
}

// An account that has recovered doesn't count as retrying for the rest of its turn.
func TestARecoveredAccountLeavesTheQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		sleep := m.sleeper(time.Hour)
		g := newRig(t, Options{InFlight: 4}, fn("f", func(ctx context.Context, ev db.Event) error {
			switch {
			case ev.MessageID == "0" && ev.Attempt == 1:
				return functions.Retry(time.Second, errTest)
			case ev.MessageID == "0":
				return nil
			}
			return sleep(ctx, ev)
		}, functions.WithPolicy(functions.Policy{Timeout: 2 * time.Hour}))).start(nil, false)
		g.commit(series("a", "f", 2, 10)...)
		g.commit(series("b", "f", 2, 10)...)
		g.sleep(time.Minute)
		if m.running() != 2 {
			t.Errorf("%d recovered accounts run, want 2", m.running())
		}
	})
}

// Somebody else may end a run: before its attempt is recorded, or while it runs.
func TestSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *rig
		var ran []string
		g = newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			ran = append(ran, ev.MessageID)
			if ev.MessageID == "2" {
				g.skip(ev)
			}
			if ev.MessageID == "3" {
				g.skip(ev)
				return errTest
			}
			return nil
		}))
		evs := series("a", "f", 5, 10)
		g.commit(evs...)
		g.cold() // as after a restart
		g.holding = func(h db.Hold) error {
			if h.Event.MessageID == "0" {
				g.skip(h.Event)
			}
			return nil
		}
		g.start([]db.Backlog{{ClientID: "a", Events: 5}}, true)
		g.settle()
		if want := []string{"1", "2", "3", "4"}; !reflect.DeepEqual(ran, want) {
			t.Errorf("events %v ran, want %v: 0 was ended before its attempt began", ran, want)
		}
		if got, want := g.fakeStore.ended("a"), []string{"1", "4"}; !reflect.DeepEqual(got, want) {
			t.Errorf("settled %v, want %v", got, want)
		}
		g.books()
	})
}

func TestGoexitIsAFailedAttempt(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		t.Run(fmt.Sprint("ahead ", ahead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := []functions.Option{functions.MaxConcurrent(1)}
				if ahead {
					opts = append(opts, functions.Pure())
				}
				g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
					if ev.MessageID == "3" && ev.Attempt < 3 {
						runtime.Goexit()
					}
					return nil
				}, opts...)).start(nil, false)
				g.commit(series("a", "f", 6, 10)...)
				g.commit(series("b", "f", 2, 10)...)
				g.settle()
				if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(3)) {
					t.Errorf("settled %v, want those before the event that ends its goroutine", got)
				}
				if h, _ := g.held("a"); h.Event.MessageID != "3" || h.Attempts != 1 {
					t.Errorf("held is event %q after %d attempts, want 3 after 1", h.Event.MessageID, h.Attempts)
				}
				g.sleep(time.Minute)
				if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(6)) {
					t.Errorf("settled %v, want all six", got)
				}
				if n := g.settled["a"][3].Event.Attempt; n != 3 {
					t.Errorf("event 3 settled with attempt %d, want 3", n)
				}
				g.books()
			})
		})
	}
}
