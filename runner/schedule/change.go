package schedule

import (
	"container/heap"
	"time"

	"inturn/db"
)

// retry is what the store says of an account's head.
type retry struct {
	attempts int
	parked   bool
	nextAt   time.Time
}

// Changed takes what persons did, and what the store's Hold wrote, in the order of
// commits, before Appended for the same commit. A lane that isn't leased follows at
// once, one that is when its event has ended.
func (s *Schedule) Changed(changes []db.Change, now time.Time) {
	for i := range changes {
		switch c := &changes[i]; {
		case c.ClientID == "" && c.Type == "":
			s.halted = c.Paused
		case c.ClientID == "":
			s.pauseType(c.Type, c.Paused)
		default:
			s.accountChanged(c, now)
		}
	}
}

func (s *Schedule) accountChanged(c *db.Change, now time.Time) {
	if c.Paused {
		s.paused[c.ClientID] = struct{}{}
	} else {
		delete(s.paused, c.ClientID)
	}
	l := s.lanes[c.ClientID]
	if l == nil {
		if c.Reread { // it may have something pending now
			l = s.newLane(c.ClientID, c.Position)
			l.outdated, l.replaying = true, c.Replaying
		}
		return
	}
	l.lastChange, l.paused = retry{attempts: c.Attempts, parked: c.Parked, nextAt: c.NextAt}, c.Paused
	l.replaying = c.Replaying
	if c.Reread {
		l.outdated, l.hot = true, false
		l.missed++
	}
	if l.state == Running {
		l.forgotten = l.forgotten || c.Attempts == 0
		return
	}
	s.adopt(l, c.Reread, now)
}

// adopt lets a lane that isn't leased follow the newest change.
func (s *Schedule) adopt(l *Lane, reread bool, now time.Time) {
	s.adoptAttempts(l)
	switch l.state {
	case Parked:
		if l.lastChange.parked {
			return
		}
	case Delayed:
		heap.Remove(&s.delayed, l.at)
	case Paused, Missing:
		switch {
		case l.waitsFor == nil && l.paused:
			return
		case l.waitsFor != nil && !reread: // for its type still
			return
		case l.waitsFor != nil:
			s.leaveType(l)
		}
	default: // it comes by itself
		return
	}
	s.place(l, l.lastChange, now)
}

func (s *Schedule) adoptAttempts(l *Lane) {
	c := &l.lastChange
	l.attempts, l.stored = c.attempts, c.attempts > 0 || c.parked
	s.reclassify(l)
}

// place puts a lane that isn't leased where the store says that it belongs.
func (s *Schedule) place(l *Lane, r retry, now time.Time) {
	switch {
	case r.parked:
		s.setState(l, Parked)
	case r.nextAt.After(now):
		s.delay(l, r.nextAt)
	default:
		s.enqueue(l)
	}
}
