package schedule

import (
	"math"
	"time"

	"inturn/db"
)

// Do is what the leaseholder of a lane does next.
type Do uint8

// What Peek may ask for.
const (
	Ended  Do = iota // nothing: the lease has ended, and the lane is not the caller's any more
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

// Peek says what a leased lane does next. Events that it gives out have begun: a pause
// that comes later lets them end.
func (s *Schedule) Peek(l *Lane, now time.Time) Step {
	s.refresh(l)
	if l.outdated {
		l.outdated = false
		s.memory.evict(l)
		l.tail = math.MinInt64
	}
	switch {
	case len(l.queue) == 0 && l.hot && !l.replaying: // whatever is paused
		s.endLease(l)
		s.remove(l)
	case l.paused:
		s.endLease(l)
		s.pause(l)
	case s.halted || s.sliceOver(l, now):
		s.endLease(l)
		s.enqueue(l)
	case len(l.queue) == 0 && !l.hot:
		return Step{Do: Load}
	case l.replaying && (len(l.queue) == 0 || l.queue[0].Position > 0):
		return Step{Do: Expand}
	default:
		return s.begin(l, s.typeOf(l.queue[0].Type))
	}
	return Step{}
}

// begin gives out l's head, which is of type t, if the type lets it.
func (s *Schedule) begin(l *Lane, t *eventType) Step {
	switch {
	case t.blocked():
		s.memory.evict(l)
		s.waitForType(l, t)
		s.endLease(l)
		if l.state == Missing && len(t.lanes) == 1 {
			return Step{Missing: t.name}
		}
		return Step{}
	case !s.acquire(l, t):
		s.memory.evictIfScarce(l)
		s.endLease(l)
		s.setState(l, Waiting)
		t.waiting.push(l)
		return Step{}
	}
	head, n := l.queue[0].Position, min(len(l.queue), s.limits.Slice)
	if l.singly > 0 || l.suspect != 0 && head <= l.suspect {
		n = 1
	}
	step := Step{Do: Run, Events: l.queue[:n:n], Attempts: l.attempts, Stored: l.stored, Record: l.record, Exited: l.suspect == head}
	if head >= l.suspect {
		l.suspect = 0
	}
	return step
}

// Load sets memory aside for events of a cold lane and says what to read. If there is
// none it ends the lease and reports false.
func (s *Schedule) Load(l *Lane) (Request, bool) {
	if !s.memory.mayLoad() {
		s.endLease(l)
		s.setState(l, Starving)
		s.memory.starving.push(l)
		return Request{}, false
	}
	return s.memory.beginLoad(l), true
}

// Loaded takes the events that the store had for a Request; more says that it has
// others behind them. After a read that failed, Evict and Delay come in its place.
func (s *Schedule) Loaded(l *Lane, events []db.Event, more bool) {
	s.memory.loaded(l, events, more)
	if len(l.queue) > 0 {
		s.headIs(l, l.queue[0].Position)
	}
	s.feed()
}

// Expanded says that the store has made the next events of the lane's replay pending,
// and whether there are more.
func (s *Schedule) Expanded(l *Lane, more bool) {
	l.replaying, l.outdated = more, true
	s.resetAttempts(l)
	s.recovered(l)
}

// Advance removes n events that were settled; position is the last one's.
func (s *Schedule) Advance(l *Lane, n int, position int64) {
	s.release(l)
	s.memory.popSettled(l, position)
	s.resetAttempts(l)
	if len(l.queue) > 0 {
		s.headIs(l, l.queue[0].Position)
	} else {
		s.headIs(l, position+1)
	}
	l.ran += n
	l.singly = max(l.singly-n, 0)
	s.recovered(l)
	s.feed()
}

// Attempts is how often a lane's head was begun.
type Attempts struct {
	N        int  // that ended without settling it
	Stored   bool // the store has any
	Recorded bool // the store counts the attempt that runs, too
}

// Attempts returns those of a leased lane's head: a person may have reset them since
// Peek.
func (s *Schedule) Attempts(l *Lane) Attempts {
	s.refresh(l)
	return Attempts{N: l.attempts, Stored: l.stored, Recorded: l.recorded}
}

// Recorded says that the attempt that Peek asked to record is in the store.
func (s *Schedule) Recorded(l *Lane) { l.record, l.recorded, l.stored = false, true, true }

// Unrecorded says that the store does not count the attempt that runs any more: it
// turned out to be none. The next one is to be recorded.
func (s *Schedule) Unrecorded(l *Lane) { l.record, l.recorded, l.stored = true, false, l.attempts > 0 }

// Exited says that the call for the event at this position ended its goroutine. What
// Peek gave out is given out again, one by one, and that event with Step.Exited.
func (s *Schedule) Exited(l *Lane, position int64) {
	l.suspect = position
}

// Superseded says that the run of the lane's head was ended by somebody else. The lease
// goes on.
func (s *Schedule) Superseded(l *Lane) {
	s.release(l)
	s.resetAttempts(l)
	s.recovered(l)
	s.memory.evict(l)
	s.feed()
}

// Overdue says that the call for the lane's head is over its time limit. It may never
// return, and what the account holds in memory is then better used by others.
func (s *Schedule) Overdue(l *Lane) {
	l.stuck = true
	s.stuck++
	s.reclassify(l)
	s.memory.evict(l)
	s.feed()
}

// Returned says that a call that Overdue named has returned after all.
func (s *Schedule) Returned(l *Lane) {
	if l.stuck {
		l.stuck = false
		s.stuck--
		s.reclassify(l)
	}
}

// Evict drops what memory holds of a leased lane: it is loaded again.
func (s *Schedule) Evict(l *Lane) { s.memory.evict(l) }

// Delay ends the lease: the lane waits until a time.
func (s *Schedule) Delay(l *Lane, until time.Time) {
	s.memory.evictIfScarce(l)
	s.endLease(l)
	s.delay(l, until)
}

// Park ends the lease after the store has written what holds the lane's head: it waits
// for what the newest Change says, a time or a person.
func (s *Schedule) Park(l *Lane, now time.Time) {
	s.adoptAttempts(l)
	l.forgotten, l.recorded = false, false
	s.memory.evict(l)
	s.endLease(l)
	s.place(l, l.lastChange, now)
}

// Done ends the lease for good: the lane stays where it is until a restart.
func (s *Schedule) Done(l *Lane) {
	s.memory.evict(l)
	s.endLease(l)
	s.setState(l, Left)
}
