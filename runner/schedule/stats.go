package schedule

// Stats is what goes on at a moment.
type Stats struct {
	States        [states]int // lanes by State
	Running       int         // leased lanes
	Retrying      int         // of Running, those whose head failed before
	Stuck         int         // of Running, those whose call is over its time limit
	Slots         int         // slots that lanes have, of all types
	Bytes         int         // of the events in memory, and of loads in progress
	Overcommitted int         // lanes that hold an event beyond Limits.Memory
	Examined      int         // lanes that Next has taken from a queue since New

	// Ages of the oldest pending event of a lane that waits for nothing but its turn, and
	// of one that waits for more or failed; 0: there is none. The age is the position at
	// which the event was accepted or its replay was ordered. While a lane is cold it may
	// be that of the event settled before, plus one.
	Free, Blocked int64
}

// Stats returns what goes on. Its cost does not grow with lanes or events, but with
// types.
func (s *Schedule) Stats() Stats {
	slots := 0
	for _, t := range s.types.byName {
		slots += t.slots.calls
	}
	return Stats{
		States: s.census.states, Running: s.running, Retrying: s.retrying, Stuck: s.census.stuck, Slots: slots,
		Bytes: s.memory.bytes, Overcommitted: s.memory.overcommitted, Examined: s.examined,
		Free: s.census.free.oldest(), Blocked: s.census.blocked.oldest(),
	}
}

// Running returns how many lanes are leased.
func (s *Schedule) Running() int { return s.running }

// State returns what an account's lane does, Idle if there is none, and whether the call
// that it is in is over its time limit.
func (s *Schedule) State(clientID string) (state State, stuck bool) {
	l := s.lanes[clientID]
	if l == nil {
		return Idle, false
	}
	return l.state, l.stuck
}

// Begun reports whether an account's head is this event and was given out: a function
// works on it, or its settle is awaited.
func (s *Schedule) Begun(clientID string, seq int64) bool {
	l := s.lanes[clientID]
	return l != nil && l.begun == seq && seq != 0
}

// MissingTypes returns the types that lanes wait for because they have no function, with
// how many lanes do.
func (s *Schedule) MissingTypes() map[string]int { return s.types.missing() }

// Busy reports whether a lane is leased, could be, or will be without a person's doing.
// Lanes that are parked or paused, or lack a function, don't count.
func (s *Schedule) Busy() bool {
	if s.halted {
		return s.running > 0
	}
	states := &s.census.states
	return len(s.lanes) > states[Parked]+states[Paused]+states[Missing]
}
