package webhook

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// health is what a call tells of its endpoint.
type health int

const (
	answers     health = iota // it is there, whatever it says
	limits                    // 429: it is there, and has enough of this account
	struggles                 // 5xx, no answer in time, or half of one: may be this event's fault
	unreachable               // no connection: no event's fault
)

// trips is how many healthy accounts, one after another, must find the endpoint struggling,
// and none well, for the circuit to open.
const trips = 5

// While it is open, calls are let through one by one, at growing distances.
const (
	firstPeriod = 100 * time.Millisecond
	topPeriod   = 15 * time.Second
	topStruggle = 5 * time.Second // where it answers, which may be the events' fault
)

// quiet is how long nothing must have been found well until accounts of which nothing
// is known, or that have failed before, are evidence enough.
const quiet = time.Minute

// classes of accounts that have failed, by their attempt, are let through in turn.
const classes = 8

// maxKnown bounds the accounts whose last call is remembered.
const maxKnown = 4096

// circuit keeps an endpoint that is down from using up everybody's attempts: open, it
// lets the accounts wait where they are.
//
// Some accounts may fail while the endpoint is well: the events of one customer that it
// can't serve, or that it limits. They hold themselves and no other account. So failures
// count only of healthy accounts, which are those that have not failed at their last
// call; each counts once; and a healthy account must have found the endpoint well before, if
// any account has within the last minute. While the circuit is open healthy accounts are
// let through first, one at once, and the first that finds the endpoint well
// closes it.
type circuit struct {
	log *slog.Logger

	mu       sync.Mutex
	accounts *simplelru.LRU[string, bool] // whether an account's last call found the endpoint well
	lastWell time.Time
	failed   map[string]struct{} // accounts that count, since it was last found well
	known    bool                // an account of the row had found it well before

	open    bool
	since   time.Time
	healthy probes // of healthy accounts
	failing probes // of those that have failed
	top     time.Duration
}

// probes are the calls that an open circuit lets through.
type probes struct {
	next   time.Time
	period time.Duration
}

// took notes that a call was let through.
func (p *probes) took(now time.Time, top time.Duration) {
	p.next = now.Add(p.period)
	p.period = min(2*p.period, top)
}

func newCircuit(log *slog.Logger) *circuit {
	accounts, err := simplelru.NewLRU[string, bool](maxKnown, nil)
	if err != nil {
		panic("webhook: " + err.Error()) // its size is not positive
	}
	return &circuit{log: log, accounts: accounts}
}

// admit returns 0 if a call of clientID may go, else how long its account should wait.
// Healthy accounts go first. Of those that have failed the one with the fewest attempts
// does: so events that can't succeed, whose attempts grow, don't keep the circuit open
// for those that can.
func (c *circuit) admit(clientID string, attempt int) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return 0
	}
	now := time.Now()
	if c.isHealthy(clientID, attempt) {
		if wait := c.healthy.next.Sub(now); wait > 0 {
			return wait + rand.N(c.healthy.period/classes) // not all at once
		}
		c.healthy.took(now, c.top)
		if c.failing.next.Before(c.healthy.next) {
			c.failing.next = c.healthy.next
		}
		return 0
	}
	step := c.failing.period / classes
	from := c.failing.next.Add(step * time.Duration(min(max(attempt-1, 0), classes)))
	if wait := from.Sub(now); wait > 0 {
		return wait + rand.N(step)
	}
	c.failing.took(now, c.top)
	return 0
}

// isHealthy reports whether clientID has not failed at its last call, as far as that is
// known: an attempt after the first one has. c.mu is held.
func (c *circuit) isHealthy(clientID string, attempt int) bool {
	well, known := c.accounts.Get(clientID)
	return attempt <= 1 && (well || !known)
}

func (c *circuit) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// report takes what an attempt of clientID has found.
func (c *circuit) report(a answer, clientID string, attempt int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch a.health {
	case answers:
		c.close(clientID)
	case struggles:
		c.struggled(a, clientID, attempt)
	case unreachable:
		c.accounts.Add(clientID, false)
		c.trip(a, firstPeriod, topPeriod)
	}
}

// close takes that clientID has found the endpoint well. c.mu is held.
func (c *circuit) close(clientID string) {
	if c.open {
		c.log.Info("an endpoint answers again", "down_for", time.Since(c.since))
	}
	c.accounts.Add(clientID, true)
	c.open, c.failed, c.known, c.lastWell = false, nil, false, time.Now()
}

// struggled opens the circuit if there is evidence enough. c.mu is held.
func (c *circuit) struggled(a answer, clientID string, attempt int) {
	well, _ := c.accounts.Get(clientID)
	healthy, quiet := c.isHealthy(clientID, attempt), time.Since(c.lastWell) > quiet
	c.accounts.Add(clientID, false)
	if healthy || quiet {
		c.known = c.known || well
		if c.failed == nil {
			c.failed = map[string]struct{}{}
		}
		if len(c.failed) < trips {
			c.failed[clientID] = struct{}{}
		}
	}
	if c.open || len(c.failed) == trips && (c.known || quiet) {
		c.trip(a, 0, topStruggle)
	}
}

// trip opens the circuit, or keeps it open. The first healthy account is let through
// after wait. c.mu is held.
func (c *circuit) trip(a answer, wait, top time.Duration) {
	c.top = top
	if c.open {
		return
	}
	now := time.Now()
	c.open, c.since, c.failed, c.known = true, now, nil, false
	c.healthy = probes{next: now.Add(wait), period: firstPeriod}
	c.failing = probes{next: now.Add(firstPeriod), period: firstPeriod}
	c.log.Warn("an endpoint is down; its accounts wait and are tried one by one", "error", a.err.Error())
}
