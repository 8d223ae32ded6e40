package runner

import (
	"container/heap"
	"time"

	"inturn/db"
)

// Changed takes what operators did, and what Hold wrote, in the order of commits. It
// is called by the committer's goroutine, before Appended for the same commit, and
// does not block. An account that nobody has leased follows at once; one that is
// leased when its event has ended.
func (r *Runner) Changed(changes []db.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		switch {
		case c.ClientID == "" && c.Type == "":
			r.halt(c.Paused)
		case c.ClientID == "":
			r.pauseType(c.Type, c.Paused)
		default:
			r.change(c)
		}
	}
}

// halt pauses everything, or ends that. mu is held.
func (r *Runner) halt(on bool) {
	r.halted = on
	r.pauses.Add(1)
	r.turn.Broadcast()
}

// pauseType pauses a type ("" is everything), or ends that. The lanes whose head is of
// it are found when their turn comes. mu is held.
func (r *Runner) pauseType(typ string, on bool) {
	lanes, was := r.types[typ]
	switch {
	case typ == "":
		r.halt(on)
	case on && !was:
		r.types[typ] = map[*lane]struct{}{}
		r.pauses.Add(1)
	case !on && was:
		delete(r.types, typ)
		for l := range lanes {
			r.makeReady(l)
		}
	}
}

// change is one account's. mu is held.
func (r *Runner) change(c *db.Change) {
	if c.Paused {
		r.paused[c.ClientID] = struct{}{}
		r.pauses.Add(1)
	} else {
		delete(r.paused, c.ClientID)
	}
	l := r.lanes[c.ClientID]
	if l == nil {
		if c.Reread { // it may have something pending now
			l = r.newLane(c.ClientID, c.Position)
			l.rewind, l.replaying = true, c.Replaying
		}
		return
	}
	l.told, l.paused = *c, c.Paused
	l.rewind = l.rewind || c.Reread
	l.replaying = c.Replaying
	if c.Reread {
		l.hot = false
		l.missed++
	}
	if l.state == running {
		l.fresh = l.fresh || c.Attempts == 0
		return
	}
	r.adopt(l)
}

// adopt lets a lane that isn't leased follow the newest change. mu is held.
func (r *Runner) adopt(l *lane) {
	c := &l.told
	l.attempts, l.held = c.Attempts, c.Attempts > 0 || c.Parked
	r.judge(l)
	switch l.state {
	case parked:
		if c.Parked {
			return
		}
	case retrying:
		heap.Remove(&r.retries, l.at)
	case paused:
		switch wait, is := r.types[l.waitsFor]; {
		case l.waitsFor == "" && c.Paused:
			return
		case l.waitsFor != "" && !c.Reread: // for its type still
			return
		case l.waitsFor != "" && is:
			delete(wait, l)
		}
	default: // it comes by itself
		return
	}
	r.place(l)
}

// attempts returns how many attempts of the leased lane's head count.
func (r *Runner) attempts(l *lane) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freshen(l)
	return l.attempts
}

// freshen forgets the attempts if an operator did. mu is held.
func (r *Runner) freshen(l *lane) {
	if l.fresh {
		l.fresh, l.attempts, l.held = false, 0, false
		r.judge(l)
	}
}

// setAside ends the lease after a Hold. What the file says now may be an operator's
// later word. mu is held.
func (r *Runner) setAside(l *lane) {
	l.attempts, l.held = l.told.Attempts, l.told.Attempts > 0 || l.told.Parked
	l.fresh, l.lease.recorded = false, false
	r.forget(l)
	r.place(l)
	r.leave(l)
}

// place puts a lane that was held where the file says that it belongs. mu is held.
func (r *Runner) place(l *lane) {
	switch c := &l.told; {
	case c.Parked:
		r.become(l, parked)
	case c.NextAt.After(time.Now()):
		r.retryLater(l, c.NextAt)
	default:
		r.makeReady(l)
	}
}
