package functions

import (
	"fmt"
	"time"
)

// Policy says how the failures of a function are handled. A zero field has its
// default. Validate has the bounds.
type Policy struct {
	// Attempts is how often an event is tried before it is given up, the first
	// attempt included: 1 to 1,000,000, default 20.
	Attempts int
	// InitialBackoff is the wait after the first failure: 1 ms to MaxBackoff, default
	// 1 s, or MaxBackoff where that is less.
	InitialBackoff time.Duration
	// MaxBackoff is the longest wait between two attempts: InitialBackoff to 7 days,
	// default 5 min, or InitialBackoff where that is more. A wait that the function
	// asks for by Retry is not bounded by it.
	MaxBackoff time.Duration
	// Multiplier is the factor by which the wait grows with each failure: 1 to 1000,
	// default 2.
	Multiplier float64
	// Jitter is the part of a wait that is random, so that accounts that failed
	// together don't come back together: a wait of d becomes d × (1−Jitter) to d. At
	// most 1, default 0.5; a negative value stands for none.
	Jitter float64
	// Timeout bounds one attempt: 1 ms to 24 h, default 5 min. The context of the work
	// is cancelled after it, and the attempt has failed. Of a Pure function, which has
	// nothing to cancel, it is not asked.
	Timeout time.Duration
	// Exhausted is what happens when all attempts have failed: ThenPark, the default,
	// or ThenDead.
	Exhausted Exhausted
}

// Exhausted is what happens to an event that has used up its attempts.
type Exhausted int

const (
	// ThenPark holds the account until an operator retries or skips the event. No
	// later event overtakes it.
	ThenPark Exhausted = iota
	// ThenDead sets the event aside as dead, as Reject does, and the account goes on.
	ThenDead
)

// The bounds of a Policy.
const (
	maxAttempts   = 1_000_000
	minWait       = time.Millisecond
	maxWait       = 7 * 24 * time.Hour
	maxTimeout    = 24 * time.Hour
	maxMultiplier = 1000
)

// Validate returns an error that names the first field of p that is out of its
// bounds, and the bounds. Zero fields, which have their defaults, are in bounds.
func (p Policy) Validate() error {
	switch {
	case outside(p.Attempts, 1, maxAttempts):
		return fmt.Errorf("policy: Attempts is %d: must be 1 to %d, or 0 for the default", p.Attempts, maxAttempts)
	case outside(p.InitialBackoff, minWait, maxWait):
		return fmt.Errorf("policy: InitialBackoff is %v: must be %v to %v, or 0 for the default", p.InitialBackoff, minWait, maxWait)
	case outside(p.MaxBackoff, minWait, maxWait):
		return fmt.Errorf("policy: MaxBackoff is %v: must be %v to %v, or 0 for the default", p.MaxBackoff, minWait, maxWait)
	case p.MaxBackoff != 0 && p.MaxBackoff < p.InitialBackoff:
		return fmt.Errorf("policy: MaxBackoff is %v: must not be less than InitialBackoff, which is %v", p.MaxBackoff, p.InitialBackoff)
	case outside(p.Multiplier, 1, maxMultiplier):
		return fmt.Errorf("policy: Multiplier is %v: must be 1 to %d, or 0 for the default", p.Multiplier, maxMultiplier)
	case !(p.Jitter <= 1): // NaN too
		return fmt.Errorf("policy: Jitter is %v: must be at most 1, or negative for none", p.Jitter)
	case outside(p.Timeout, minWait, maxTimeout):
		return fmt.Errorf("policy: Timeout is %v: must be %v to %v, or 0 for the default", p.Timeout, minWait, maxTimeout)
	case p.Exhausted != ThenPark && p.Exhausted != ThenDead:
		return fmt.Errorf("policy: Exhausted is %d: must be ThenPark or ThenDead", p.Exhausted)
	}
	return nil
}

// outside reports whether a field that is set is not within its bounds. NaN isn't.
func outside[T int | float64 | time.Duration](field, least, most T) bool {
	return field != 0 && !(field >= least && field <= most)
}

// withDefaults returns p with the defaults in place of zero fields.
func (p Policy) withDefaults() Policy {
	setDefault(&p.Attempts, 20)
	switch initial, longest := time.Second, 5*time.Minute; {
	case p.InitialBackoff == 0 && p.MaxBackoff == 0:
		p.InitialBackoff, p.MaxBackoff = initial, longest
	case p.InitialBackoff == 0:
		p.InitialBackoff = min(initial, p.MaxBackoff)
	case p.MaxBackoff == 0:
		p.MaxBackoff = max(longest, p.InitialBackoff)
	}
	setDefault(&p.Multiplier, 2)
	setDefault(&p.Jitter, 0.5)
	if p.Jitter < 0 {
		p.Jitter = 0
	}
	setDefault(&p.Timeout, 5*time.Minute)
	return p
}

func setDefault[T int | float64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
