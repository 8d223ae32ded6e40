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

func newTestCircuit(t *testing.T) *circuit {
	return newCircuit(slog.New(slog.NewTextHandler(t.Output(), nil)))
}

var (
	well    = answer{}
	limited = answer{health: limits, err: errors.New("the endpoint answered 429")}
	bad     = answer{health: struggles, err: errors.New("the endpoint answered 500")}
	nobody  = answer{health: unreachable, err: errors.New("no connection")}
)

func TestOneAccountOpensNoCircuit(t *testing.T) {
	c := newTestCircuit(t)
	for attempt := range 100 {
		if wait := c.admit("healthy", 1); wait != 0 {
			t.Fatalf("after failures of one account others wait %v", wait)
		}
		c.report(bad, "poison", attempt+1)
	}
	// Nor do some, while others are well.
	for i := range 100 {
		for j := range trips - 1 {
			c.report(bad, fmt.Sprint(i, j), 1)
		}
		c.report(well, "healthy", 1)
		if wait := c.admit("another", 1); wait != 0 {
			t.Fatalf("others wait %v", wait)
		}
	}
}

// What is limited says nothing about the endpoint: it neither opens a circuit nor closes it.
func TestLimitsAreNoEvidence(t *testing.T) {
	c := newTestCircuit(t)
	for i := range 10 * trips {
		c.report(limited, fmt.Sprint(i), 1)
	}
	if c.isOpen() {
		t.Error("429 has opened the circuit")
	}
	for i := range trips {
		c.report(bad, fmt.Sprint("bad", i), 1)
	}
	c.report(limited, "another", 1)
	if !c.isOpen() {
		t.Error("429 has closed the circuit")
	}
}

// While something was found well lately, only accounts that were well themselves open it.
func TestEvidenceNeedsAHealthyAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCircuit(t)
		c.report(well, "healthy", 1)
		for i := range 10 * trips {
			c.report(bad, fmt.Sprint("poisoned", i), 1)
		}
		if c.isOpen() {
			t.Error("accounts that nobody has seen well have opened the circuit")
		}
		c.report(bad, "healthy", 1)
		if !c.isOpen() {
			t.Error("a healthy account fails too, and the circuit is closed")
		}
		c.report(well, "healthy", 2)
		for range 3 {
			for i := range 10 * trips { // their failures are counted
				c.report(bad, fmt.Sprint("poisoned", i), 2)
			}
			c.report(bad, "healthy", 1)
			if c.isOpen() {
				t.Error("accounts that had failed before have opened the circuit")
			}
			c.report(well, "healthy", 2)
		}
		// After a minute without, any accounts will do: this may be after a restart.
		time.Sleep(quiet + time.Second)
		for i := range trips {
			c.report(bad, fmt.Sprint("poisoned", i), 3)
		}
		if !c.isOpen() {
			t.Error("nothing was found well for a minute, and the circuit is closed")
		}
	})
}

func TestACircuitOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, found := range map[string]answer{"struggling": bad, "unreachable": nobody} {
			c := newTestCircuit(t)
			for i := range trips {
				c.report(found, fmt.Sprint(i), 1)
			}
			fresh := 0
			healthy := func() time.Duration { fresh++; return c.admit(fmt.Sprint("fresh", fresh), 1) }
			if wait := c.admit("0", 1); wait < firstPeriod {
				t.Errorf("%s: an account that has failed waits %v", name, wait)
			}
			if found.health == unreachable { // no event's fault: nobody can know better
				if wait := healthy(); wait < firstPeriod {
					t.Errorf("%s: the first healthy account waits %v", name, wait)
				}
				time.Sleep(firstPeriod)
			}
			if wait := healthy(); wait != 0 {
				t.Errorf("%s: the first healthy account waits %v", name, wait)
			}
			top := map[health]time.Duration{struggles: topStruggle, unreachable: topPeriod}[found.health]
			period := firstPeriod
			for range 10 {
				if wait := healthy(); wait < period || wait > period+period/4 {
					t.Errorf("%s: a healthy account waits %v in a period of %v", name, wait, period)
				}
				time.Sleep(period)
				if wait := c.admit("failed", 2); wait == 0 {
					t.Errorf("%s: an account that has failed goes first", name)
				}
				if wait := healthy(); wait != 0 {
					t.Errorf("%s: nobody is let through after %v: %v", name, period, wait)
				}
				period = min(2*period, top)
				c.report(found, "probe", 1)
			}
			// Where only accounts that have failed come, they go by their attempts, and a
			// healthy one needn't wait for that.
			period = firstPeriod
			for range 10 {
				time.Sleep(2 * top)
				if wait := c.admit("20", 20); wait != 0 {
					t.Errorf("%s: where nobody else comes, an account that has failed waits %v", name, wait)
				}
				for attempt, want := range map[int]time.Duration{1: 0, 2: 1, 5: 4, 9: 8, 20: 8} {
					step := c.failing.period / classes
					if wait, want := c.admit("0", attempt), period+want*step; wait < want || wait > want+step {
						t.Errorf("%s: attempt %d waits %v in a period of %v, want %v", name, attempt, wait, period, want)
					}
				}
				period = min(2*period, top)
			}
			if wait := healthy(); wait != 0 {
				t.Errorf("%s: a healthy account waits %v for those that have failed", name, wait)
			}
			c.report(well, "probe", 2)
			if wait := c.admit("0", 3); wait != 0 {
				t.Errorf("%s: once it answers, others wait %v", name, wait)
			}
		}
	})
}

// An hour of outage over many accounts: few attempts in all, and all go on soon after it,
// those that can't succeed among them.
func TestAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts, poisoned, outage = 1000, 50, time.Hour
		c := newTestCircuit(t)
		begin := time.Now()
		var mu sync.Mutex
		attempts, most, last := 0, 0, time.Duration(0)
		var all sync.WaitGroup
		for i := range accounts {
			all.Go(func() {
				time.Sleep(rand.N(time.Second))
				for attempt := 1; ; {
					if wait := c.admit(fmt.Sprint(i), attempt); wait > 0 {
						time.Sleep(wait)
						continue
					}
					down := time.Since(begin) < outage
					if time.Sleep(time.Millisecond); !down && i >= poisoned {
						c.report(well, fmt.Sprint(i), attempt)
						break
					}
					mu.Lock()
					if down {
						attempts++
						most = max(most, attempt)
					}
					mu.Unlock()
					c.report(bad, fmt.Sprint(i), attempt)
					if attempt++; attempt > 20 {
						return // parked
					}
					time.Sleep(min(time.Second<<min(attempt-1, 20), 5*time.Minute))
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
