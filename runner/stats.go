package runner

import (
	"time"

	"inturn/db"
)

// Observer hears how functions run. Its methods are called by many goroutines, for
// every event, and must not block. typ is the event's type; one that this binary has
// no function for is none of the set's.
type Observer interface {
	// Worked: a function's first phase ended, whatever it returned.
	Worked(typ string, took time.Duration)
	// Ended: an attempt ended in this way.
	Ended(typ string, as Outcome)
	// Done: an event's first run was settled so long after the event was accepted.
	Done(lag time.Duration)
}

// Outcome is how an attempt ended.
type Outcome string

// The outcomes of an attempt. One that was postponed, or that the shutdown cut short,
// has none.
const (
	OutcomeDone   Outcome = "done"      // settled, with its effect
	OutcomeFailed Outcome = "failed"    // tried again later
	OutcomeDead   Outcome = "dead"      // rejected and set aside
	OutcomeLater  Outcome = "postponed" // nothing was tried; again later
	OutcomeParked Outcome = "parked"    // the last one; the account waits for a person
)

type nobody struct{}

func (nobody) Worked(string, time.Duration) {}
func (nobody) Ended(string, Outcome)        {}
func (nobody) Done(time.Duration)           {}

// done tells of events that were settled with their effects.
func (r *Runner) done(items []db.Settlement) {
	now := time.Now()
	for i := range items {
		ev := &items[i].Event
		r.observer.Ended(ev.Type, OutcomeDone)
		if ev.Run == 1 {
			r.observer.Done(max(now.Sub(ev.ReceivedAt), 0))
		}
	}
}

// Stats is what goes on at a moment.
type Stats struct {
	Accounts map[State]int // that have pending events: Idle is not in it
	Paused   int           // those that would be Ready, if a person hadn't paused them
	InFlight int           // accounts inside functions, or waiting for their settle
	Pollers  int
	Busy     int // of the pollers, those that are taking a turn
	HotBytes int // of the events in memory

	// Turns of the oldest pending event whose account nothing holds, and of the oldest
	// of the others (they failed, were postponed, are stuck, parked, paused or replayed);
	// 0: there is none. While an account waits to be read from the file its turn may be
	// that of the event settled before, plus one.
	FreeTurn, BlockedTurn int64
}

// Stats returns them; what it costs does not grow with accounts or events.
func (r *Runner) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats()
}

// stats: mu is held.
func (r *Runner) stats() Stats {
	return Stats{
		Accounts: map[State]int{
			Ready:    r.states[ready] + r.states[waiting] + r.states[starving] + r.states[paused],
			Running:  r.states[running] - r.stuck,
			Retrying: r.states[retrying],
			Parked:   r.states[parked],
			Stuck:    r.stuck,
		},
		Paused: r.states[paused], InFlight: r.running, Pollers: r.o.Pollers, Busy: r.o.Pollers - r.waiting, HotBytes: r.bytes,
		FreeTurn: r.unheld.first(), BlockedTurn: r.blocked.first(),
	}
}
