package schedule

import "time"

// Next leases the lane whose turn it is. It returns nil if there is none: everything is
// paused, as many lanes are leased as may be, or none is ready.
func (s *Schedule) Next(now time.Time) *Lane {
	s.endDelays(now)
	if s.halted || s.running >= s.limits.Running {
		return nil
	}
	for {
		l := s.ready.pop(s.mayRetry())
		if l == nil {
			return nil
		}
		s.examined++
		switch {
		case l.paused:
			s.pause(l)
		case l.attempts > 0 && l.slot == nil && !s.mayRetry(): // a person's act brought its attempts back
			s.enqueue(l)
		default:
			s.lease(l, now)
			return l
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
func (s *Schedule) NextDelay() (at time.Time, ok bool) {
	if len(s.delayed) == 0 {
		return time.Time{}, false
	}
	return s.delayed[0].retryAt, true
}

// mayRetry reports whether one more lane whose head failed before may be leased.
func (s *Schedule) mayRetry() bool { return s.retrying < max(1, s.limits.Running/retryShare) }

// enqueue puts l at the end of the lanes that are ready.
func (s *Schedule) enqueue(l *Lane) {
	s.setState(l, Ready)
	s.ready.push(l)
}

// pause puts a lane aside whose account is paused, so that a pause costs one look at the
// lane and no more.
func (s *Schedule) pause(l *Lane) {
	s.setState(l, Paused)
	s.release(l)
	s.memory.evict(l)
	s.feed()
}

// feed lets one lane that waits for memory try again; its load, or the end of its lease,
// lets the next.
func (s *Schedule) feed() {
	if s.memory.starving.len() > 0 && s.memory.mayLoad() {
		s.enqueue(s.memory.starving.pop())
	}
}

func (s *Schedule) lease(l *Lane, now time.Time) {
	s.setState(l, Running)
	l.since, l.ran = now, 0
	s.running++
	if l.retries = l.attempts > 0; l.retries {
		s.retrying++
	}
}

// endLease takes l from its leaseholder. The caller puts it where it belongs.
func (s *Schedule) endLease(l *Lane) {
	s.refresh(l)
	s.memory.endLoad(l)
	s.release(l)
	s.running--
	s.recovered(l)
	s.feed()
}

// recovered takes l out of the leased lanes whose head failed before.
func (s *Schedule) recovered(l *Lane) {
	if l.retries {
		l.retries = false
		s.retrying--
	}
}

// sliceOver reports whether l should make room for others that are ready.
func (s *Schedule) sliceOver(l *Lane, now time.Time) bool {
	return l.ran > 0 && (l.ran >= s.limits.Slice || now.Sub(l.since) >= sliceTime) && s.ready.len() > 0
}
