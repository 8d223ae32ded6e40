package webhook

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// health is what a call tells of its endpoint.
type health int

const (
	answers     health = iota // it is there, whatever it says
	struggles                 // 429, 5xx, no answer in time, or none: may be this event's fault
	unreachable               // no connection: no event's fault
)

// A circuit opens when so many accounts, one after another, find the endpoint
// struggling, and none finds it well. One account can't open it, however often it
// fails: it holds itself and no other.
const trips = 5

// While it is open one call is let through each period, which doubles.
const (
	firstPeriod = time.Second
	topPeriod   = 15 * time.Second
	topStruggle = 5 * time.Second // where it answers, which may be the events' fault
	longestHold = time.Minute     // of a Retry-After, for all accounts
)

// classes of calls, by their attempt, take their turns while it is open.
const classes = 8

// circuit keeps an endpoint that is down from using up everybody's attempts: open, it
// lets the accounts wait where they are.
type circuit struct {
	log *slog.Logger

	mu     sync.Mutex
	failed map[string]struct{} // accounts that found it struggling since it was last found well
	open   bool
	since  time.Time
	next   time.Time // when a call is let through
	period time.Duration
	top    time.Duration // of period
}

// admit returns 0 if a call may go, else how long its account should wait. Where many
// wait, the one with the fewest attempts goes first: so events that can't succeed, whose
// attempts grow, don't keep the circuit open for those that can.
func (c *circuit) admit(attempt int) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return 0
	}
	now := time.Now()
	step := c.period / classes
	from := c.next.Add(step * time.Duration(min(max(attempt-1, 0), classes)))
	if now.Before(from) {
		return from.Sub(now) + rand.N(step) // not all at once
	}
	c.period = min(2*c.period, c.top)
	c.next = now.Add(c.period)
	return 0
}

func (c *circuit) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// report takes what a call of clientID has found.
func (c *circuit) report(a answer, clientID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.health == answers {
		if c.open {
			c.log.Info("an endpoint answers again", "down_for", time.Since(c.since))
		}
		c.open, c.failed = false, nil
		return
	}
	if !c.open {
		if c.failed == nil {
			c.failed = map[string]struct{}{}
		}
		c.failed[clientID] = struct{}{}
		if a.health == struggles && len(c.failed) < trips {
			return
		}
		c.open, c.since, c.period = true, time.Now(), firstPeriod
		c.next, c.failed = c.since.Add(c.period), nil
		c.log.Warn("an endpoint is down; its accounts wait and are tried one by one", "error", a.err.Error())
	}
	if c.top = topPeriod; a.health == struggles {
		c.top = topStruggle
	}
	if hold := time.Now().Add(min(a.after, longestHold)); hold.After(c.next) {
		c.next = hold
	}
}
