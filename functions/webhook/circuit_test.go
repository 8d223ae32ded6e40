package webhook

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newCircuit(t *testing.T) *circuit {
	return &circuit{log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

var (
	well   = answer{}
	bad    = answer{health: struggles, err: errors.New("the endpoint answered 500")}
	nobody = answer{health: unreachable, err: errors.New("no connection")}
)

func TestOneAccountOpensNoCircuit(t *testing.T) {
	c := newCircuit(t)
	for range 100 {
		if wait := c.admit(3); wait != 0 {
			t.Fatalf("after failures of one account others wait %v", wait)
		}
		c.report(bad, "poison")
	}
	// Nor do some, while others are well.
	for i := range 100 {
		for j := range trips - 1 {
			c.report(bad, fmt.Sprint(i, j))
		}
		c.report(well, "healthy")
		if wait := c.admit(1); wait != 0 {
			t.Fatalf("others wait %v", wait)
		}
	}
}

func TestACircuitOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, found := range map[string]answer{"struggling": bad, "unreachable": nobody} {
			c := newCircuit(t)
			for i := range trips {
				c.report(found, fmt.Sprint(i))
			}
			top := map[health]time.Duration{struggles: topStruggle, unreachable: topPeriod}[found.health]
			period := firstPeriod
			for range 8 {
				for attempt, want := range map[int]time.Duration{1: 0, 2: period / 8, 5: period / 2, 9: period, 20: period} {
					if wait := c.admit(attempt); wait < period+want || wait > period+want+period/8 {
						t.Errorf("%s: attempt %d waits %v in a period of %v", name, attempt, wait, period)
					}
				}
				time.Sleep(period)
				if wait := c.admit(2); wait == 0 {
					t.Errorf("%s: who failed before goes first", name)
				}
				if wait := c.admit(1); wait != 0 {
					t.Errorf("%s: nobody is let through after %v: %v", name, period, wait)
				}
				period = min(2*period, top)
				if wait := c.admit(1); wait < period {
					t.Errorf("%s: a second one is let through, or soon: %v of %v", name, wait, period)
				}
				c.report(found, "probe")
			}
			time.Sleep(2 * period)
			if wait := c.admit(20); wait != 0 {
				t.Errorf("%s: where nobody else comes, who failed before waits %v", name, wait)
			}
			c.report(well, "probe")
			if wait := c.admit(3); wait != 0 {
				t.Errorf("%s: once it answers, others wait %v", name, wait)
			}
		}
	})
}

func TestRetryAfterHoldsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for after, want := range map[time.Duration]time.Duration{0: firstPeriod, 20 * time.Second: 20 * time.Second, time.Hour: longestHold} {
			c := newCircuit(t)
			for i := range trips {
				c.report(answer{health: struggles, err: bad.err, after: after}, fmt.Sprint(i))
			}
			if wait := c.admit(1); wait < want || wait > want+firstPeriod/4 {
				t.Errorf("Retry-After %v: others wait %v, want %v", after, wait, want)
			}
		}
	})
}

// An hour of outage over many accounts: few attempts in all, and all go on soon after it,
// those that can't succeed among them.
func TestAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts, poisoned, outage = 1000, 50, time.Hour
		c := newCircuit(t)
		begin := time.Now()
		var mu sync.Mutex
		attempts, most, last := 0, 0, time.Duration(0)
		var all sync.WaitGroup
		for i := range accounts {
			all.Go(func() {
				time.Sleep(rand.N(time.Second))
				for attempt := 1; ; {
					if wait := c.admit(attempt); wait > 0 {
						time.Sleep(wait)
						continue
					}
					down := time.Since(begin) < outage
					if time.Sleep(time.Millisecond); !down && i >= poisoned {
						c.report(well, fmt.Sprint(i))
						break
					}
					mu.Lock()
					if down {
						attempts++
						most = max(most, attempt)
					}
					mu.Unlock()
					c.report(bad, fmt.Sprint(i))
					if attempt++; attempt > 20 {
						return // parked
					}
					time.Sleep(leastWait(attempt) * 2)
				}
				mu.Lock()
				defer mu.Unlock()
				last = max(last, time.Since(begin)-outage)
			})
		}
		all.Wait()
		t.Logf("%d attempts in all, at most %d of one account; all went on within %v of the end", attempts, most, last)
		if limit := int(outage/topStruggle) + 50; attempts > limit {
			t.Errorf("%d attempts, want at most %d", attempts, limit)
		}
		if most > 3 {
			t.Errorf("an account has used up %d attempts", most)
		}
		if last > 15*time.Minute {
			t.Errorf("the last account went on %v after the outage", last)
		}
	})
}
