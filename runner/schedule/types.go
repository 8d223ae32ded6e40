package schedule

import (
	"maps"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// types is the event types that have a function, are paused, or are waited for.
type types struct {
	byName map[string]*eventType
	census *census
	ready  *readyQueues
}

// eventType is what is known of one type of events.
type eventType struct {
	name   string
	known  bool // has a function
	paused bool
	slots  slots
	lanes  []*lane // that are paused or missing because their head is of this type
}

// setAll is Schedule.SetTypes.
func (ts *types) setAll(bounds map[string]int) {
	names := slices.Collect(maps.Keys(bounds))
	names = slices.AppendSeq(names, maps.Keys(ts.byName))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		bound, known := bounds[name]
		ts.set(ts.of(name), known, bound)
	}
}

func (ts *types) set(t *eventType, known bool, bound int) {
	t.known = known
	t.slots.setBound(bound)
	ts.grant(t)
	ts.recheck(t)
}

// of returns what is known of a type, and makes it if need be.
func (ts *types) of(name string) *eventType {
	t := ts.byName[name]
	if t == nil {
		t = &eventType{name: name}
		ts.byName[name] = t
	}
	return t
}

// tidy forgets a type about which there is nothing to know.
func (ts *types) tidy(t *eventType) {
	if !t.known && !t.paused && t.slots.unused() && len(t.lanes) == 0 {
		delete(ts.byName, t.name)
	}
}

// blocked reports whether events of the type can't run now.
func (t *eventType) blocked() bool { return t.paused || !t.known }

// reason is the state of a lane whose head is of a blocked type.
func (t *eventType) reason() State {
	if t.paused {
		return Paused
	}
	return Missing
}

// pause pauses a type, or ends that. The lanes whose head is of it are found when
// their turn comes.
func (ts *types) pause(name string, on bool) {
	t := ts.of(name)
	t.paused = on
	ts.recheck(t)
}

// recheck makes the lanes ready that waited for a type which isn't blocked any more, or
// notes why they wait now.
func (ts *types) recheck(t *eventType) {
	if t.blocked() {
		for _, l := range t.lanes {
			ts.census.setState(l, t.reason())
		}
		ts.tidy(t)
		return
	}
	lanes := t.lanes
	t.lanes = nil
	for _, l := range lanes {
		l.waitsFor = nil
		ts.ready.push(l)
	}
}

// wait puts a lane whose head is of a blocked type aside.
func (ts *types) wait(l *lane, t *eventType) {
	l.waitsFor, l.at = t, len(t.lanes)
	t.lanes = append(t.lanes, l)
	ts.census.setState(l, t.reason())
}

// leave takes a lane out of those that wait for its head's type.
func (ts *types) leave(l *lane) {
	t, last := l.waitsFor, len(l.waitsFor.lanes)-1
	t.lanes[l.at] = t.lanes[last]
	t.lanes[l.at].at = l.at
	t.lanes[last] = nil
	t.lanes = t.lanes[:last]
	l.waitsFor = nil
	ts.tidy(t)
}

// admit gives l a slot of its head's type. It reports false if the type is blocked or no
// slot is free for l.
func (ts *types) admit(l *lane) (*eventType, bool) {
	t := ts.of(l.queue[0].Type)
	if t.blocked() {
		return t, false
	}
	if l.slot == t { // granted while it waited, or its call ended its goroutine
		return t, true
	}
	ts.release(l) // its head has changed while it waited
	if !t.slots.take(l) {
		return t, false
	}
	l.slot = t
	return t, true
}

// waitForSlot puts a lane into a queue of its head's type.
func (ts *types) waitForSlot(l *lane, t *eventType) {
	ts.census.setState(l, Waiting)
	t.slots.push(l)
}

// grant gives the free slots to lanes that wait for one.
func (ts *types) grant(t *eventType) {
	for l := t.slots.pop(); l != nil; l = t.slots.pop() {
		l.slot = t
		ts.ready.push(l)
	}
}

// missing returns how many lanes wait for each type that has no function.
func (ts *types) missing() map[string]int {
	missing := map[string]int{}
	for name, t := range ts.byName {
		if !t.known && len(t.lanes) > 0 {
			missing[name] = len(t.lanes)
		}
	}
	return missing
}

// release gives l's slot back, if it has one, and thereby to a lane that waits.
func (ts *types) release(l *lane) {
	t := l.slot
	if t == nil {
		return
	}
	l.slot = nil
	t.slots.giveBack(l)
	if t.slots.bound > 0 { // else none waits
		ts.grant(t)
	}
	ts.tidy(t)
}

// settled is release after a call that ended well.
func (ts *types) settled(l *lane) {
	if l.slot != nil && l.slot.slots.proven != nil {
		ts.proved(l, true)
	}
	ts.release(l)
}

// proved notes whether the call that l has a slot for ended well.
func (ts *types) proved(l *lane, well bool) {
	if l.slot != nil {
		l.slot.slots.proved(l.clientID, well)
	}
}

// standing is what is known of a lane that wants a slot of a type. It decides how many
// of the slots the lane may use.
type standing uint8

const (
	proven  standing = iota // the account's last call of this type ended well
	fresh                   // nothing is known
	failing                 // the lane's head failed before
	standings
)

// Shares of a type's slots. Calls that hang hold their slots until their time limit, and
// could hold all slots: so some are kept for other lanes.
const (
	failingShare = 4 // failing lanes get at most 1/4 of the slots, and one at least
	provenShare  = 8 // 1/8 is kept for proven lanes, where there are 8 slots or more
	maxProven    = 4096
)

// slots is the calls of a type that may run at once.
type slots struct {
	bound   int             // 0: any number
	calls   int             // slots that lanes have
	by      [standings]int  // of calls
	waiting [standings]fifo // lanes that wait for a slot
	last    standing        // the standing that got a slot last
	proven  *simplelru.LRU[string, struct{}]
}

// setBound changes the number of slots. Calls that run beyond it go on.
func (s *slots) setBound(bound int) {
	s.bound = bound
	if s.proven == nil && s.kept() > 0 {
		s.proven, _ = simplelru.NewLRU[string, struct{}](maxProven, nil) // it fails for no size only
	}
}

// kept is how many slots only proven lanes get.
func (s *slots) kept() int { return s.bound / provenShare }

// free reports whether a lane of this standing may have a slot now.
func (s *slots) free(as standing) bool {
	switch {
	case s.bound == 0:
		return true
	case s.calls >= s.bound:
		return false
	case as != proven && s.calls-s.by[proven] >= s.bound-s.kept():
		return false
	}
	return as != failing || s.by[failing] < max(1, s.bound/failingShare)
}

// standing returns l's.
func (s *slots) standing(l *lane) standing {
	switch {
	case l.attempts > 0:
		return failing
	case s.kept() > 0 && s.proven.Contains(l.clientID):
		return proven
	}
	return fresh
}

// take gives l a slot, or reports false if none is free for it.
func (s *slots) take(l *lane) bool {
	as := s.standing(l)
	if !s.free(as) {
		return false
	}
	s.count(l, as)
	return true
}

func (s *slots) count(l *lane, as standing) {
	l.slotAs = as
	s.calls++
	s.by[as]++
}

func (s *slots) giveBack(l *lane) {
	s.calls--
	s.by[l.slotAs]--
}

// push lets l wait behind the others of its standing.
func (s *slots) push(l *lane) { s.waiting[s.standing(l)].push(l) }

// pop gives a slot to the first lane that waits and may have one, by turns of each
// standing. It returns nil if there is none.
func (s *slots) pop() *lane {
	for range standings {
		s.last = (s.last + 1) % standings
		if s.waiting[s.last].len() > 0 && s.free(s.last) {
			l := s.waiting[s.last].pop()
			s.count(l, s.last)
			return l
		}
	}
	return nil
}

// proved notes whether an account's call ended well.
func (s *slots) proved(clientID string, well bool) {
	switch {
	case s.proven == nil:
	case well:
		s.proven.Add(clientID, struct{}{})
	default:
		s.proven.Remove(clientID)
	}
}

// unused reports whether no lane has a slot or waits for one.
func (s *slots) unused() bool {
	n := s.calls
	for i := range s.waiting {
		n += s.waiting[i].len()
	}
	return n == 0
}
