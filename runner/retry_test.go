package runner

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
	"inturn/runner/schedule"
)

func TestBackoffDoublesWithJitterBetweenHalfAndFull(t *testing.T) {
	p := functions.Policy{InitialBackoff: time.Second, Multiplier: 2, MaxBackoff: 5 * time.Minute, Jitter: 0.5}
	for attempts, full := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 9: 256 * time.Second, 10: p.MaxBackoff, 20: p.MaxBackoff, 1000: p.MaxBackoff, math.MaxInt: p.MaxBackoff,
	} {
		low, high := time.Duration(math.MaxInt64), time.Duration(0)
		for range 2000 {
			d := backoff(p, attempts)
			low, high = min(low, d), max(high, d)
		}
		if low < full/2 || high > full {
			t.Errorf("after %d attempts the wait is between %v and %v, want %v to %v", attempts, low, high, full/2, full)
		}
		if high-low < full/4 {
			t.Errorf("after %d attempts the wait is always about %v: accounts that failed together come back together", attempts, low)
		}
	}
	if d := backoff(functions.Policy{InitialBackoff: time.Second, Multiplier: 3, MaxBackoff: time.Hour}, 4); d != 27*time.Second {
		t.Errorf("with factor 3 and no jitter the fourth wait is %v, want 27s", d)
	}
	// A shift that overflows must not come out as a short wait.
	for attempts := range 100 {
		p := functions.Policy{InitialBackoff: 1<<38 + 1, Multiplier: 2, MaxBackoff: 24 * time.Hour, Jitter: 0.5} // 2^31 after 31 doublings in 64 bits
		if d := backoff(p, attempts+1); d < p.InitialBackoff/2 || d > p.MaxBackoff {
			t.Errorf("after %d attempts the wait is %v", attempts+1, d)
		}
	}
}

func TestAFailingEventHoldsItsOwnAccountOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Duration
		begin := time.Now()
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			if ev.ClientID == "bad" {
				starts = append(starts, time.Since(begin))
				if len(starts) < 6 {
					return errTest
				}
			}
			return nil
		})).start(nil, false)
		g.commit(series("bad", "f", 3, 10)...)
		g.commit(series("good", "f", 3, 10)...)
		g.settle()
		if got := g.fakeStore.ended("good"); !reflect.DeepEqual(got, ids(3)) {
			t.Errorf("the other account settled %v", got)
		}
		if got := g.fakeStore.ended("bad"); len(got) != 0 {
			t.Errorf("the failing account settled %v", got)
		}
		g.sleep(time.Hour)
		for i := 1; i < 6; i++ {
			full := time.Second << (i - 1)
			if wait := starts[i] - starts[i-1]; wait < full/2 || wait > full {
				t.Errorf("attempt %d came %v after the one before, want %v to %v", i+1, wait, full/2, full)
			}
		}
		if got := g.fakeStore.ended("bad"); !reflect.DeepEqual(got, ids(3)) {
			t.Errorf("the failing account settled %v, want all in order", got)
		}
		for i, h := range g.all {
			if h.Attempts != i+1 || h.Park || h.Error != errTest.Error() {
				t.Errorf("hold %d is %+v", i, h)
			}
		}
		if n := g.settled["bad"][0].Event.Attempt; n != 6 {
			t.Errorf("the event was settled by attempt %d, want 6", n)
		}
		g.books()
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Time
		g := newRig(t, Options{}, fn("f", func(context.Context, db.Event) error {
			starts = append(starts, time.Now())
			if len(starts) == 1 {
				return functions.Retry(17*time.Minute, errTest)
			}
			return nil
		})).start(nil, false)
		g.commit(event("a", "0", "f", 10))
		g.sleep(time.Hour)
		if wait := starts[1].Sub(starts[0]); wait != 17*time.Minute {
			t.Errorf("the second attempt came after %v, want 17 min", wait)
		}
		g.books()
	})
}

func TestParkAfterTheAttemptsOfThePolicy(t *testing.T) {
	for _, tc := range []struct {
		name string
		work error
		opts []functions.Option
		want int
	}{
		{"default", errTest, nil, 20},
		{"policy", errTest, []functions.Option{functions.WithPolicy(functions.Policy{Attempts: 3})}, 3},
		{"retries count", functions.Retry(time.Second, errTest), nil, 20},
		{"ahead", errTest, []functions.Option{functions.Pure()}, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ran := 0
				g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
					if ev.ClientID == "bad" {
						ran++
						return tc.work
					}
					return nil
				}, tc.opts...)).start(nil, false)
				g.commit(series("bad", "f", 2, 10)...)
				g.sleep(100 * time.Hour)
				g.commit(event("bad", "2", "f", 10), event("good", "0", "f", 10))
				g.sleep(100 * time.Hour)
				if h, _ := g.held("bad"); ran != tc.want || !h.Park || h.Attempts != tc.want || h.Event.MessageID != "0" {
					t.Errorf("ran %d times and is held by %+v, want %d times and parked", ran, h, tc.want)
				}
				if len(g.fakeStore.ended("good")) != 1 {
					t.Error("the other account did not run")
				}
				// Parked, it costs no memory, no slot and no turn.
				if s := g.stats(); s.Bytes != 0 || s.Running != 0 || s.States != [schedule.Idle]int{schedule.Parked: 1} {
					t.Errorf("bytes %d, running %d, lanes %v", s.Bytes, s.Running, s.States)
				}
			})
		})
	}
}

func TestParkByTheFunctionItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			if ran++; ev.ClientID == "bad" && ev.Attempt == 2 {
				return functions.Park(errTest)
			} else if ev.ClientID == "bad" {
				return errTest
			}
			return nil
		})).start(nil, false)
		g.commit(series("bad", "f", 2, 10)...)
		g.commit(event("good", "0", "f", 10))
		g.sleep(100 * time.Hour)
		if h, _ := g.held("bad"); ran != 3 || !h.Park || h.Attempts != 2 || h.Event.MessageID != "0" || h.Error != errTest.Error() {
			t.Errorf("ran %d times and is held by %+v, want parked by its second attempt", ran, h)
		}
		if len(g.fakeStore.ended("good")) != 1 {
			t.Error("the other account did not run")
		}
	})
}

// Postponed events keep their place and use up no attempt, however often; the file
// hears of it only where an attempt had been recorded before it began.
func TestPostponedIsNoAttempt(t *testing.T) {
	for _, unclean := range []bool{false, true} {
		t.Run(fmt.Sprint(unclean), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const accounts, times = 100, 50
				down := true
				var mu sync.Mutex
				calls, attempts := map[string]int{}, map[int]int{}
				g := newRig(t, Options{HotBytes: 100 << 10}, fn("f", func(_ context.Context, ev db.Event) error {
					mu.Lock()
					defer mu.Unlock()
					calls[ev.ClientID]++
					attempts[ev.Attempt]++
					if down {
						return functions.Postpone(time.Minute, errTest)
					}
					return nil
				}, functions.MaxConcurrent(10)))
				var backlog []db.Backlog
				for i := range accounts {
					c := fmt.Sprint("a", i)
					g.commit(series(c, "f", 3, 1000)...)
					backlog = append(backlog, db.Backlog{ClientID: c, Events: 3})
				}
				g.cold()
				g.start(backlog, unclean)
				g.sleep((times-1)*time.Minute + time.Second)
				mu.Lock()
				for c, n := range calls {
					if n != times {
						t.Errorf("%s was called %d times in %d minutes", c, n, times-1)
					}
				}
				down = false
				mu.Unlock()
				g.fakeStore.mu.Lock()
				holds := len(g.all)
				g.fakeStore.mu.Unlock()
				if want := map[bool]int{false: 0, true: 2 * accounts * times}[unclean]; holds != want {
					t.Errorf("%d holds, want %d", holds, want)
				}
				g.sleep(2 * time.Minute)
				for i := range accounts {
					c := fmt.Sprint("a", i)
					if got := g.fakeStore.ended(c); !reflect.DeepEqual(got, ids(3)) {
						t.Errorf("%s settled %v, want all in order", c, got)
					}
				}
				if len(attempts) != 1 || attempts[1] == 0 {
					t.Errorf("calls by attempt: %v, want first ones only", attempts)
				}
				g.books()
			})
		})
	}
}

// What was an attempt before stays one.
func TestPostponedKeepsEarlierAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []int
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			switch seen = append(seen, ev.Attempt); len(seen) {
			case 1, 4:
				return errTest
			case 2, 3:
				return functions.Postpone(time.Hour, errTest)
			}
			return nil
		})).start(nil, false)
		g.commit(event("a", "0", "f", 10))
		g.sleep(10 * time.Hour)
		if want := []int{1, 2, 2, 2, 3}; !reflect.DeepEqual(seen, want) {
			t.Errorf("attempts %v, want %v", seen, want)
		}
		g.books()
	})
}

func TestRejectSetsAsideAtOnceAndTheAccountGoesOn(t *testing.T) {
	for _, in := range []string{"work", "effect", "second attempt", "ahead"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var opts []functions.Option
				if in == "ahead" {
					opts = append(opts, functions.Pure())
				}
				g := newRig(t, Options{}, functions.New("f", func(_ context.Context, ev functions.Event, _ any) (functions.Effect, error) {
					if ev.MessageID != "1" {
						return nil, nil
					}
					if in == "effect" {
						return func(functions.Tx) (any, error) { return nil, functions.Reject(errTest) }, nil
					}
					if in == "second attempt" && ev.Attempt == 1 {
						return nil, functions.Retry(0, errTest)
					}
					return nil, functions.Reject(errTest)
				}, opts...)).start(nil, false)
				g.commit(series("a", "f", 4, 10)...)
				g.sleep(0)
				if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(4)) {
					t.Fatalf("settled %v, want all at once", got)
				}
				for i, it := range g.settled["a"] {
					dead := it.Status == db.Dead
					if dead != (i == 1) || dead && it.Error != errTest.Error() {
						t.Errorf("event %d is %s (%s)", i, it.Status, it.Error)
					}
				}
				g.books()
			})
		})
	}
}

// After an unclean stop an account's first attempt is in the file before it begins.
func TestUncleanStartRecordsTheFirstAttempt(t *testing.T) {
	for _, unclean := range []bool{true, false} {
		t.Run(fmt.Sprint(unclean), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g *rig
				var before []int // attempts in the file when each event began
				g = newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
					h, _ := g.held("a")
					before = append(before, h.Attempts)
					return nil
				}, functions.Pure()))
				g.commit(series("a", "f", 3, 10)...)
				g.cold()
				b := db.Backlog{ClientID: "a", Events: 3, Attempts: 4, HeadSeq: 1}
				g.holds["a"] = db.Hold{Event: g.pending["a"][0], Attempts: 4}
				g.start([]db.Backlog{b}, unclean)
				g.settle()
				want := []int{4, 4, 4} // worked ahead of the first one's settle
				if unclean {
					want = []int{5, 0, 0}
				}
				if !reflect.DeepEqual(before, want) {
					t.Errorf("the file had %v attempts as the events began, want %v", before, want)
				}
				if n := g.settled["a"][0].Event.Attempt; n != 5 {
					t.Errorf("the first event settled with attempt %d, want 5", n)
				}
				g.books()
			})
		})
	}
}

// After an unclean stop a slice is not worked ahead: the event that ends the process
// must come to the head of its account, where its attempts are counted.
func TestUncleanStartRunsASliceOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *rig
		behind := 0
		g = newRig(t, Options{Slice: 10}, fn("f", func(_ context.Context, ev db.Event) error {
			if ended := len(g.fakeStore.ended("a")); ended < int(ev.Seq)-1 {
				behind++
				if ev.Seq <= 10 {
					t.Errorf("event %d was worked when %d were settled", ev.Seq, ended)
				}
			}
			return nil
		}, functions.Pure()))
		g.commit(series("a", "f", 30, 10)...)
		g.cold()
		g.start([]db.Backlog{{ClientID: "a", Events: 30}}, true)
		g.settle()
		if behind == 0 {
			t.Error("after the first slice nothing is worked ahead")
		}
		g.books()
	})
}

// A restart keeps the waits and the parked accounts that the file has, but no wait that
// no policy allows.
func TestStartTakesOverWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		at := map[string]time.Duration{}
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			mu.Lock()
			defer mu.Unlock()
			at[ev.ClientID] = time.Since(begin)
			return nil
		}))
		var backlog []db.Backlog
		for _, b := range []db.Backlog{
			{ClientID: "waits", Attempts: 3, NextAt: begin.Add(time.Minute)},
			{ClientID: "a wrong clock", Attempts: 3, NextAt: begin.Add(10 * 24 * time.Hour)},
			{ClientID: "due", Attempts: 3, NextAt: begin.Add(-time.Minute)},
			{ClientID: "parked", Attempts: 20, Parked: true},
			{ClientID: "used up", Attempts: 20, NextAt: begin.Add(time.Minute)},
			{ClientID: "free"},
		} {
			g.commit(event(b.ClientID, "0", "f", 10))
			if b.Attempts > 0 {
				g.holds[b.ClientID] = db.Hold{Attempts: b.Attempts}
			}
			backlog = append(backlog, b)
		}
		g.cold()
		g.start(backlog, true)
		g.sleep(2 * time.Hour)
		if want := (map[string]time.Duration{"waits": time.Minute, "a wrong clock": time.Hour, "due": 0, "free": 0}); !reflect.DeepEqual(at, want) {
			t.Errorf("accounts ran at %v, want %v", at, want)
		}
		if h, _ := g.held("used up"); !h.Park {
			t.Errorf("an account whose attempts all ended the process is held by %+v, want parked", h)
		}
	})
}

func TestAnAttemptOverItsTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		release := make(chan struct{})
		limit := functions.WithPolicy(functions.Policy{Timeout: time.Second})
		g := newRig(t, Options{},
			fn("obeys", func(ctx context.Context, ev db.Event) error { <-ctx.Done(); return ctx.Err() }, limit),
			fn("rejects", func(ctx context.Context, ev db.Event) error { <-ctx.Done(); return functions.Reject(errTest) }, limit),
			fn("finishes", func(ctx context.Context, ev db.Event) error { <-ctx.Done(); return nil }, limit),
			fn("ignores", func(_ context.Context, ev db.Event) error { defer m.in(ev)(); <-release; return nil }, limit),
		).start(nil, false)
		g.commit(event("obeys", "0", "obeys", 10), event("rejects", "0", "rejects", 10),
			event("finishes", "0", "finishes", 10), event("ignores", "0", "ignores", 10), event("ignores", "1", "ignores", 10))
		g.sleep(1200 * time.Millisecond)
		if h, _ := g.held("obeys"); h.Attempts != 1 {
			t.Errorf("obeys is held by %+v, want 1 attempt", h)
		}
		for _, c := range []string{"rejects", "finishes"} {
			if len(g.fakeStore.ended(c)) != 1 {
				t.Errorf("what %s came to late is not recorded", c)
			}
		}
		g.sleep(24 * time.Hour)
		if m.running() != 1 || m.most != 1 || len(m.seen) != 1 {
			t.Errorf("an account whose function ignores its context: %d calls run, %d began, want 1", m.running(), len(m.seen))
		}
		close(release)
		g.settle()
		if got := g.fakeStore.ended("ignores"); !reflect.DeepEqual(got, ids(2)) {
			t.Errorf("settled %v once the call returned", got)
		}
	})
}

// unreadable is an error as a function may return it by mistake: a nil pointer in an
// interface.
type unreadable struct{ text string }

func (e *unreadable) Error() string { return e.text }

func TestAnErrorThatPanicsIsAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := func(_ context.Context, ev functions.Event, _ any) (functions.Effect, error) {
			var bad *unreadable
			switch {
			case ev.Attempt > 1:
				return nil, nil
			case ev.ClientID == "reject":
				return nil, &functions.RejectError{}
			case ev.ClientID == "effect":
				return func(functions.Tx) (any, error) { return nil, bad }, nil
			}
			return nil, bad
		}
		g := newRig(t, Options{}, functions.New("f", work), functions.New("ahead", work, functions.Pure())).start(nil, false)
		for _, typ := range []string{"f", "ahead"} {
			for i, c := range []string{"work", "effect", "reject"} {
				g.commit(event(c, fmt.Sprint(typ, i), typ, 10))
			}
		}
		g.sleep(time.Hour)
		for _, c := range []string{"work", "effect", "reject"} {
			for _, it := range g.settled[c] {
				if it.Event.Attempt != 2 || it.Status != db.Done {
					t.Errorf("%s %s: %s by attempt %d, want done by 2", c, it.Event.MessageID, it.Status, it.Event.Attempt)
				}
			}
			if len(g.settled[c]) != 2 {
				t.Errorf("%s: %d of 2 events settled", c, len(g.settled[c]))
			}
		}
		g.books()
	})
}
