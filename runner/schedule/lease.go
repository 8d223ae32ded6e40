package schedule

import (
	"math"
	"time"

	"inturn/db"
)

// Lease is the right to run one lane, of the one that got it from Next. Its verbs are
// calls of the Schedule.
type Lease struct {
	s *Schedule
	l *lane
}

// ClientID returns the id of the lane's account.
func (le Lease) ClientID() string { return le.l.clientID }

// Do is what the holder of a lease does next.
type Do uint8

// What Peek may ask for.
const (
	Ended  Do = iota // nothing: the lease has ended, and is not to be used any more
	Run              // run Step.Events
	Load             // read the lane's events from the store: Load, then Loaded
	Expand           // let the store go on with the lane's replay, then Expanded
)

// Step is what Peek returns. For Ended, only Missing is set.
type Step struct {
	Do Do

	// Events is the lane's head and, behind it, what may be worked before the head is
	// settled, up to Limits.Slice events. Its elements don't change before Advance.
	Events   []db.Event
	Attempts int  // of the head, begun before
	Stored   bool // the store has attempts of the head, which settling it must clear
	Record   bool // this attempt is to be recorded before it begins: see Recorded
	Exited   bool // the last call for the head ended its goroutine: see Exited

	// Missing is a type without a function that the lane now waits for, if it is the
	// first to do so.
	Missing string
}

// Request is what to read for a cold lane: at most so many Events after a position, of
// at most so many Bytes together, but one at least.
type Request struct {
	After  int64
	Events int
	Bytes  int
}

// Peek says what to do next. Events that it gives out have begun: a later pause does
// not stop an attempt.
func (le Lease) Peek(now time.Time) Step {
	s, l := le.s, le.l
	le.refresh()
	if l.outdated {
		l.outdated = false
		s.memory.evict(l)
		l.tail = math.MinInt64
	}
	switch {
	case len(l.queue) == 0 && l.hot && !l.replaying: // whatever is paused
		le.end()
		delete(s.lanes, l.clientID)
		s.census.remove(l)
	case l.paused:
		le.end()
		s.pause(l)
	case s.halted || le.sliceOver(now):
		le.end()
		s.ready.push(l)
	case len(l.queue) == 0 && !l.hot:
		return Step{Do: Load}
	case l.replaying && (len(l.queue) == 0 || l.queue[0].Position > 0):
		return Step{Do: Expand}
	default:
		return le.begin()
	}
	return Step{}
}

// begin gives out the lane's head, if its type lets it.
func (le Lease) begin() Step {
	s, l := le.s, le.l
	switch t, may := s.types.admit(l); {
	case !may && t.blocked():
		s.memory.evict(l)
		s.types.wait(l, t)
		le.end()
		if l.state == Missing && len(t.lanes) == 1 {
			return Step{Missing: t.name}
		}
		return Step{}
	case !may:
		s.memory.evictIfScarce(l)
		le.end()
		s.types.waitForSlot(l, t)
		return Step{}
	}
	le.feed()
	head, n := l.queue[0].Position, min(len(l.queue), s.limits.Slice)
	if l.singly > 0 || l.suspect != 0 && head <= l.suspect {
		n = 1
	}
	step := Step{Do: Run, Events: l.queue[:n:n], Attempts: l.attempts, Stored: l.stored, Record: l.record, Exited: l.suspect == head}
	if head >= l.suspect {
		l.suspect = 0
	}
	l.begun = l.queue[0].Seq
	return step
}

// sliceOver reports whether the lane should make room for others that are ready.
func (le Lease) sliceOver(now time.Time) bool {
	s, l := le.s, le.l
	return l.ran > 0 && (l.ran >= s.limits.Slice || now.Sub(l.since) >= sliceTime) && s.ready.len() > 0
}

// end ends the lease. The caller puts the lane where it belongs.
func (le Lease) end() {
	s, l := le.s, le.l
	le.refresh()
	if l.load.bytes > 0 {
		s.memory.endLoad(l)
	}
	if l.slot != nil {
		s.types.release(l)
	}
	s.running--
	l.begun = 0
	le.recovered()
	le.feed()
}

// feed lets one lane that waits for memory try again; its next Peek lets the next.
func (le Lease) feed() {
	s := le.s
	if q := &s.memory.starving; q.head < len(q.lanes) && s.memory.mayLoad() {
		s.ready.push(q.pop())
	}
}

// recovered takes the lane out of the leased ones whose head failed before.
func (le Lease) recovered() {
	if le.l.retries {
		le.l.retries = false
		le.s.retrying--
	}
}

// Load sets memory aside for events of a cold lane and says what to read. If there is
// none it ends the lease and reports false.
func (le Lease) Load() (Request, bool) {
	s, l := le.s, le.l
	if !s.memory.mayLoad() {
		le.end()
		s.census.setState(l, Starving)
		s.memory.starving.push(l)
		return Request{}, false
	}
	return s.memory.beginLoad(l), true
}

// Loaded takes the events that the store had for a Request; more says that it has
// further ones. After a read that failed, Evict and Delay come in its place.
func (le Lease) Loaded(events []db.Event, more bool) {
	s, l := le.s, le.l
	s.memory.loaded(l, events, more)
	if len(l.queue) > 0 {
		s.census.headIs(l, l.queue[0].Position)
	}
}

// Expanded says that the store has made the next events of the lane's replay pending,
// and whether there are more.
func (le Lease) Expanded(more bool) {
	le.l.replaying, le.l.outdated = more, true
	le.resetAttempts()
}

// Advance removes n events that were settled; position is the last one's.
func (le Lease) Advance(n int, position int64) {
	s, l := le.s, le.l
	s.types.settled(l)
	s.memory.popSettled(l, position)
	head := position + 1
	if len(l.queue) > 0 {
		head = l.queue[0].Position
	}
	s.census.newHead(l, head)
	le.recovered()
	l.recorded, l.begun = false, 0
	l.ran += n
	l.singly = max(l.singly-n, 0)
}

// refresh resets the attempts if a person did while the head ran.
func (le Lease) refresh() {
	if le.l.forgotten {
		le.s.census.setAttempts(le.l, 0, false)
	}
}

// resetAttempts notes that no attempt of the head counts any more.
func (le Lease) resetAttempts() {
	le.l.recorded = false
	le.s.census.setAttempts(le.l, 0, false)
	le.recovered()
}

// Attempts is how often a lane's head was begun.
type Attempts struct {
	N        int  // that ended without settling it
	Stored   bool // the store has any
	Recorded bool // the store counts the attempt that runs, too
}

// Attempts returns the attempts of the lane's head, which a person may have reset since
// Peek.
func (le Lease) Attempts() Attempts {
	le.refresh()
	return Attempts{N: le.l.attempts, Stored: le.l.stored, Recorded: le.l.recorded}
}

// Recorded says that the attempt that Peek asked to record is in the store.
func (le Lease) Recorded() { le.l.record, le.l.recorded, le.l.stored = false, true, true }

// Unrecorded says that the store does not count the attempt that runs any more: it
// turned out to be none. The next one is to be recorded.
func (le Lease) Unrecorded() {
	le.l.record, le.l.recorded, le.l.stored = true, false, le.l.attempts > 0
}

// Exited says that the call for the event at this position ended its goroutine. What
// Peek gave out is given out again, one by one, and that event with Step.Exited.
func (le Lease) Exited(position int64) { le.l.suspect = position }

// Superseded says that the run of the lane's head was ended by somebody else. The lease
// goes on.
func (le Lease) Superseded() {
	le.s.types.release(le.l)
	le.l.begun = 0
	le.resetAttempts()
	le.s.memory.evict(le.l)
}

// Overdue says that the call for the lane's head is over its time limit. It may never
// return, and what the account holds in memory is then better used by others.
func (le Lease) Overdue() {
	le.s.types.proved(le.l, false)
	le.s.census.setStuck(le.l, true)
	le.s.memory.evict(le.l)
	le.feed()
}

// Returned says that a call that may have been Overdue has returned after all.
func (le Lease) Returned() { le.s.census.setStuck(le.l, false) }

// Evict drops what memory holds of the lane: it is loaded again.
func (le Lease) Evict() { le.s.memory.evict(le.l) }

// Delay ends the lease: the lane waits until a time.
func (le Lease) Delay(until time.Time) {
	le.s.memory.evictIfScarce(le.l)
	le.end()
	le.s.delays.add(le.l, until)
}

// Park ends the lease after the store has written what holds the lane's head: it waits
// for what the newest Change says, a time or a person.
func (le Lease) Park(now time.Time) {
	s, l := le.s, le.l
	s.types.proved(l, false)
	s.adoptAttempts(l)
	l.recorded = false
	s.memory.evict(l)
	le.end()
	s.place(l, l.lastChange, now)
}

// Done ends the lease for good: the lane stays where it is until a restart.
func (le Lease) Done() {
	le.s.memory.evict(le.l)
	le.end()
	le.s.census.setState(le.l, Left)
}
