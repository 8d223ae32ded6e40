package runner

import (
	"time"

	"inturn/db"
	"inturn/runner/schedule"
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

// observe reports events that were settled with their effects.
func (r *Runner) observe(items []db.Settlement) {
	now := time.Now()
	for i := range items {
		ev := &items[i].Event
		r.observer.Ended(ev.Type, OutcomeDone)
		if ev.Run == 1 {
			r.observer.Done(max(now.Sub(ev.ReceivedAt), 0))
		}
	}
}

// State is what an account does now, as people see it.
type State string

// The states of an account.
const (
	Idle     State = "idle"     // nothing is pending
	Ready    State = "ready"    // waits for a turn, for a slot of its function, or for the end of a pause
	Running  State = "running"  // inside a function, or waiting for its settle
	Retrying State = "retrying" // its head failed and waits for the next attempt
	Parked   State = "parked"   // waits for a person
	Stuck    State = "stuck"    // inside a function that is over its time limit and does not return
)

// State returns what an account does at this moment. One that has nothing pending,
// or never sent anything, is Idle.
func (r *Runner) State(clientID string) State {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch state, stuck := r.schedule.State(clientID); {
	case stuck:
		return Stuck
	case state == schedule.Idle:
		return Idle
	case state == schedule.Running:
		return Running
	case state == schedule.Delayed:
		return Retrying
	case state == schedule.Parked:
		return Parked
	}
	return Ready
}

// Running reports whether an account is inside a function with this event as its head, or
// waits for its settle. It does not block.
func (r *Runner) Running(clientID string, seq int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.schedule.Begun(clientID, seq)
}

// Stats is what goes on at a moment.
type Stats struct {
	Accounts map[State]int  // that have pending events: Idle is not in it
	Paused   int            // those that would be Ready without a pause
	Missing  map[string]int // those that would be Ready, if the type of their next event had a function, by that type
	InFlight int            // accounts inside functions, or waiting for their settle
	Pollers  int
	Busy     int // of the pollers, those that are taking a lease
	HotBytes int // of the events in memory

	// Positions of the oldest pending event whose account nothing holds, and of the oldest
	// of the others (they failed, were postponed, are stuck, parked, paused, replayed or
	// without a function); 0: there is none. While an account waits to be read from the
	// file it may be that of the event settled before, plus one.
	FreePosition, BlockedPosition int64
}

// Stats returns what goes on. Its cost does not grow with accounts or events.
func (r *Runner) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.schedule.Stats()
	in := func(states ...schedule.State) (n int) {
		for _, state := range states {
			n += s.States[state]
		}
		return n
	}
	return Stats{
		Accounts: map[State]int{
			Ready:    in(schedule.Ready, schedule.Waiting, schedule.Starving, schedule.Paused, schedule.Missing),
			Running:  s.Running - s.Stuck,
			Retrying: in(schedule.Delayed),
			Parked:   in(schedule.Parked),
			Stuck:    s.Stuck,
		},
		Paused: in(schedule.Paused), Missing: r.schedule.MissingTypes(),
		InFlight: s.Running, Pollers: r.o.Pollers, Busy: r.o.Pollers - r.waiting, HotBytes: s.Bytes,
		FreePosition: s.Free, BlockedPosition: s.Blocked,
	}
}

// Busy reports whether an account runs, could run, or waits for its next attempt: the
// process has something to do then, or will have, without anybody's doing. What waits
// for a person, parked or paused or without a function, doesn't count.
func (r *Runner) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.schedule.Busy()
}
