package schedule

// eventType is what is known of one type of events. Schedule.types has those that have a
// function, are paused, or are waited for.
type eventType struct {
	name    string
	known   bool // has a function
	paused  bool
	bound   int     // of calls at once; 0: none
	calls   int     // slots that lanes have
	waiting fifo    // lanes that wait for a slot
	lanes   []*Lane // that are paused or missing because their head is of this type
}

// SetTypes says which event types have a function, and how many calls of it may run at
// once; 0 is any number. Lanes that waited for a function, or for a slot that there now
// is, become ready. A call that runs goes on, and counts, whatever becomes of its type.
func (s *Schedule) SetTypes(bounds map[string]int) {
	for _, t := range s.types {
		bound, known := bounds[t.name]
		s.setType(t, known, bound)
	}
	for name, bound := range bounds {
		if _, is := s.types[name]; !is {
			s.setType(s.typeOf(name), true, bound)
		}
	}
}

func (s *Schedule) setType(t *eventType, known bool, bound int) {
	t.known, t.bound = known, bound
	for t.waiting.len() > 0 && t.hasSlot() {
		s.grant(t)
	}
	s.recheck(t)
}

// typeOf returns what is known of a type, and makes it if need be.
func (s *Schedule) typeOf(name string) *eventType {
	t := s.types[name]
	if t == nil {
		t = &eventType{name: name}
		s.types[name] = t
	}
	return t
}

// tidy forgets a type about which there is nothing to know.
func (s *Schedule) tidy(t *eventType) {
	if !t.known && !t.paused && t.calls == 0 && t.waiting.len() == 0 && len(t.lanes) == 0 {
		delete(s.types, t.name)
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

// pauseType pauses a type, or ends that. The lanes whose head is of it are found when
// their turn comes.
func (s *Schedule) pauseType(name string, on bool) {
	t := s.typeOf(name)
	t.paused = on
	s.recheck(t)
}

// recheck makes the lanes ready that waited for a type which isn't blocked any more, or
// notes why they wait now.
func (s *Schedule) recheck(t *eventType) {
	if t.blocked() {
		for _, l := range t.lanes {
			s.setState(l, t.reason())
		}
		s.tidy(t)
		return
	}
	lanes := t.lanes
	t.lanes = nil
	for _, l := range lanes {
		l.waitsFor = nil
		s.enqueue(l)
	}
}

// waitForType puts a lane whose head is of a blocked type aside.
func (s *Schedule) waitForType(l *Lane, t *eventType) {
	l.waitsFor, l.at = t, len(t.lanes)
	t.lanes = append(t.lanes, l)
	s.setState(l, t.reason())
}

// leaveType takes a lane out of those that wait for its head's type.
func (s *Schedule) leaveType(l *Lane) {
	t, last := l.waitsFor, len(l.waitsFor.lanes)-1
	t.lanes[l.at] = t.lanes[last]
	t.lanes[l.at].at = l.at
	t.lanes[last] = nil
	t.lanes = t.lanes[:last]
	l.waitsFor = nil
	s.tidy(t)
}

func (t *eventType) hasSlot() bool { return t.bound == 0 || t.calls < t.bound }

// acquire gives l a slot of its head's type, or reports false if none is free.
func (s *Schedule) acquire(l *Lane, t *eventType) bool {
	if l.slot == t { // granted while it waited, or its call ended its goroutine
		return true
	}
	s.release(l) // its head has changed while it waited
	if !t.hasSlot() {
		return false
	}
	t.calls++
	l.slot = t
	return true
}

// grant gives a free slot to the first lane that waits for one.
func (s *Schedule) grant(t *eventType) {
	l := t.waiting.pop()
	t.calls++
	l.slot = t
	s.enqueue(l)
}

// release gives l's slot back, if it has one, and thereby to the first lane that waits.
func (s *Schedule) release(l *Lane) {
	t := l.slot
	if t == nil {
		return
	}
	l.slot = nil
	t.calls--
	if t.waiting.len() > 0 && t.hasSlot() {
		s.grant(t)
	}
	s.tidy(t)
}
