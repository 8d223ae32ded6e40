package schedule

import "time"

// Next leases the lane whose turn it is. ok is false if there is none: everything is
// paused, as many lanes are leased as may be, or none is ready.
func (s *Schedule) Next(now time.Time) (le Lease, ok bool) {
	for l := s.delays.pop(now); l != nil; l = s.delays.pop(now) {
		s.ready.push(l)
	}
	if s.halted || s.running >= s.limits.Running {
		return Lease{}, false
	}
	for {
		l := s.ready.pop(s.mayRetry())
		if l == nil {
			return Lease{}, false
		}
		s.examined++
		switch {
		case l.paused:
			s.pause(l)
		case l.attempts > 0 && l.slot == nil && !s.mayRetry(): // a person's act brought its attempts back
			s.ready.push(l)
		default:
			return s.lease(l, now), true
		}
	}
}

// HasNext reports whether Next is worth a call. Delays whose time has come don't count.
func (s *Schedule) HasNext() bool {
	if s.halted || s.running >= s.limits.Running {
		return false
	}
	q := &s.ready
	return q.fresh.len() > 0 || q.granted.len() > 0 || q.retries.len() > 0 && s.mayRetry()
}

// NextDelay returns the time of the earliest delay; ok is false if there is none.
func (s *Schedule) NextDelay() (at time.Time, ok bool) { return s.delays.first() }

// mayRetry reports whether one more lane whose head failed before may be leased.
func (s *Schedule) mayRetry() bool { return s.retrying < max(1, s.limits.Running/retryShare) }

// pause puts a lane aside whose account is paused, so that a pause costs one look at the
// lane and no more.
func (s *Schedule) pause(l *lane) {
	s.census.setState(l, Paused)
	s.types.release(l)
	s.memory.evict(l)
	s.feed()
}

// feed lets one lane that waits for memory try again; its load, or the end of its lease,
// lets the next.
func (s *Schedule) feed() {
	if s.memory.starving.len() > 0 && s.memory.mayLoad() {
		s.ready.push(s.memory.starving.pop())
	}
}

func (s *Schedule) lease(l *lane, now time.Time) Lease {
	s.census.setState(l, Running)
	l.since, l.ran = now, 0
	s.running++
	if l.retries = l.attempts > 0; l.retries {
		s.retrying++
	}
	return Lease{s, l}
}
