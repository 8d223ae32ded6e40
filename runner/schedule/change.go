package schedule

import (
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
			s.types.pause(c.Type, c.Paused)
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
func (s *Schedule) adopt(l *lane, reread bool, now time.Time) {
	s.adoptAttempts(l)
	switch l.state {
	case Parked:
		if l.lastChange.parked {
			return
		}
	case Delayed:
		s.delays.remove(l)
	case Paused, Missing:
		switch {
		case l.waitsFor == nil && l.paused:
			return
		case l.waitsFor != nil && !reread: // for its type still
			return
		case l.waitsFor != nil:
			s.types.leave(l)
		}
	default: // it comes by itself
		return
	}
	s.place(l, l.lastChange, now)
}

// adoptAttempts takes those that the newest change says.
func (s *Schedule) adoptAttempts(l *lane) {
	c := &l.lastChange
	s.census.setAttempts(l, c.attempts, c.attempts > 0 || c.parked)
}

// place puts a lane that isn't leased where the store says that it belongs.
func (s *Schedule) place(l *lane, r retry, now time.Time) {
	switch {
	case r.parked:
		s.census.setState(l, Parked)
	case r.nextAt.After(now):
		s.delays.add(l, r.nextAt)
	default:
		s.ready.push(l)
	}
}
