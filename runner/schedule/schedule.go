// Package schedule decides which account runs next, and nothing else.
//
// It is pure: time comes in as an argument and decisions go out as results. It has no
// goroutine, lock, I/O, channel or context, and it calls nothing of its user's. The
// user, package runner, keeps a lock around it, reads from the store what Peek asks
// for, calls functions, and reports how that ended.
//
// A lane is an account that has pending events:
//
//	Appended, Restore, Changed
//	           |
//	           v         Next
//	       +-> Ready ----------------> Running --+-- Peek: nothing is pending ----> (removed)
//	       |                            ^        |
//	       |                            |        +-- Load, Loaded: read from the store
//	       |                            +--------+-- Expand, Expanded: replay goes on
//	       |                            +--------+-- Run, Advance: events settled
//	       |                                     |
//	       |   the slice is over, others wait    |
//	       +-------------------------------------+
//	       |                                     +-- Delay or Park --> Delayed   until a time
//	       |   the time has come, a slot is      +-- Park -----------> Parked    for a person
//	       |   free, there is memory, the        +-- Peek ----------> Waiting   for a slot
//	       |   pause is over, the type has       +-- Load ----------> Starving  for memory
//	       |   a function, a person acted        +-- Peek ----------> Paused    by a person
//	       +------------------------------------ +-- Peek ----------> Missing   for a function
//	                                             +-- Done ----------> Left      until a restart
//
// Next returns a Lease, whose methods are for its holder alone, until one ends the
// lease: Peek when it returns Ended, Load when it reports false; Delay, Park and Done always.
//
// Order. An account's events are given out by position, one at a time, or several that
// may be worked ahead; the next ones only after Advance.
//
// Fairness. Lanes that are ready stand in three queues, which take turns: those that
// have a slot, those whose head failed before, and the others. A lane with n lanes
// before it in its queue is leased by one of the next 3n+3 leases, or, where its head
// failed, as soon as fewer than a quarter of the leases are of such lanes. A slice ends
// after Limits.Slice events or 250 ms if others are ready.
//
// Memory. A lane is hot while memory holds all of its pending events, else cold: its
// events are then loaded from the store when its turn comes. The events of all lanes
// stay within Limits.Memory, but for one event a load in progress and one event each of
// at most 64 lanes, so that work goes on whatever holds the memory.
package schedule

import (
	"math"
	"time"

	"inturn/db"
)

// Limits of a schedule. All must be greater than 0.
type Limits struct {
	Running int // lanes leased at once
	Slice   int // events after which a lane makes room if others are ready
	Memory  int // bytes of all lanes' events in memory
}

const (
	sliceTime  = 250 * time.Millisecond // after which a lane makes room if others are ready
	retryShare = 4                      // lanes whose head failed before get at most 1/4 of Limits.Running
)

// Schedule has the lanes and what each waits for. It is not safe for concurrent
// use.
type Schedule struct {
	limits Limits
	lanes  map[string]*lane // of the accounts that have pending events
	census census
	ready  readyQueues
	delays delays
	memory memory
	types  types
	paused map[string]struct{} // accounts that a person paused
	halted bool                // everything is paused

	running  int // leased lanes
	retrying int // of running, those whose head failed before
	examined int // lanes that Next took from a queue
}

// New returns a schedule without lanes. types are the event types that have a function,
// in the form of SetTypes.
func New(limits Limits, types map[string]int) *Schedule {
	s := &Schedule{
		limits: limits,
		lanes:  map[string]*lane{},
		memory: memory{limit: limits.Memory, running: limits.Running},
		paused: map[string]struct{}{},
	}
	s.ready.census, s.delays.census = &s.census, &s.census
	s.types.byName, s.types.census, s.types.ready = map[string]*eventType{}, &s.census, &s.ready
	s.SetTypes(types)
	return s
}

// SetTypes says which event types have a function, and how many calls of it may run at
// once; 0 is any number. Lanes that waited for a function, or for a slot that there now
// is, become ready. A call that runs goes on, and counts, whatever becomes of its type.
func (s *Schedule) SetTypes(bounds map[string]int) { s.types.setAll(bounds) }

// Restore adds a lane as the store has it at a start; b.NextAt is compared with now. If
// careful, the lane's first attempt is to be recorded before it begins (Step.Record),
// and its first Limits.Slice events are given out one by one: so the event that ended
// the process becomes the head, where its attempts are counted. It is called before
// Appended and Changed.
func (s *Schedule) Restore(b db.Backlog, careful bool, now time.Time) {
	if b.Paused {
		s.paused[b.ClientID] = struct{}{}
		if b.Events == 0 && !b.Replaying {
			return
		}
	}
	l := &lane{clientID: b.ClientID, attempts: b.Attempts, stored: b.Attempts > 0, paused: b.Paused, replaying: b.Replaying}
	l.tail = math.MinInt64 // a replay may be pending
	if careful {
		l.record, l.singly = true, s.limits.Slice
	}
	s.add(l, b.HeadPosition)
	s.place(l, retry{attempts: b.Attempts, parked: b.Parked, nextAt: b.NextAt}, now)
}

// Appended adds the new events of a commit, in the order of commits. An event that a
// load has already returned is ignored.
func (s *Schedule) Appended(events []db.Event) {
	for i := range events {
		ev := &events[i]
		l := s.lanes[ev.ClientID]
		if l == nil {
			// An account without a lane has nothing pending but this event.
			l = s.newLane(ev.ClientID, ev.Position)
			l.hot = !l.paused // what can't run is read when it can
		}
		if ev.Position <= l.tail {
			continue
		}
		if l.hot && s.memory.fits(l, size(ev)) {
			s.memory.append(l, ev)
		} else {
			l.hot = false
			l.missed++
		}
	}
}

// newLane adds a lane that is ready, unless its account is paused.
func (s *Schedule) newLane(clientID string, head int64) *lane {
	l := &lane{clientID: clientID}
	s.add(l, head)
	if _, l.paused = s.paused[clientID]; l.paused {
		s.census.setState(l, Paused)
	} else {
		s.ready.push(l)
	}
	return l
}

// add makes l the lane of its account.
func (s *Schedule) add(l *lane, head int64) {
	s.lanes[l.clientID] = l
	s.census.add(l, head)
}
