package schedule

import "fmt"

// Verify recounts what the schedule counts as it goes, and returns the first difference.
// Its cost grows with lanes and events: it is for tests.
func (s *Schedule) Verify() error {
	want := Stats{Examined: s.examined}
	calls, queued := map[*eventType][standings]int{}, s.queued()
	for id, l := range s.lanes {
		if err := s.verifyLane(id, l, queued[l]); err != nil {
			return fmt.Errorf("lane %q in state %d: %w", id, l.state, err)
		}
		want.States[l.state]++
		want.Bytes += l.bytes + l.load.bytes
		want.Running += one(l.state == Running)
		want.Retrying += one(l.retries)
		want.Stuck += one(l.stuck)
		want.Slots += one(l.slot != nil)
		want.Overcommitted += one(l.overcommitted)
		if l.slot != nil {
			by := calls[l.slot]
			by[l.slotAs]++
			calls[l.slot] = by
		}
		oldest := &want.Free
		if l.isBlocked() {
			oldest = &want.Blocked
		}
		if *oldest == 0 || l.head < *oldest {
			*oldest = l.head
		}
	}
	if got := s.Stats(); got != want {
		return fmt.Errorf("counted as %+v, it is %+v", got, want)
	}
	if n := len(s.census.free.lanes) + len(s.census.blocked.lanes); n != len(s.lanes) {
		return fmt.Errorf("%d lanes stand by age, there are %d", n, len(s.lanes))
	}
	for name, t := range s.types.byName {
		if t.slots.by != calls[t] {
			return fmt.Errorf("type %q counts %v calls, it has %v", name, t.slots.by, calls[t])
		}
		for as := range t.slots.waiting {
			if n := t.slots.waiting[as].len(); n > 0 && t.slots.free(standing(as)) {
				return fmt.Errorf("type %q has %v calls of at most %d, and %d lanes of standing %d wait", name, t.slots.by, t.slots.bound, n, as)
			}
		}
	}
	return nil
}

// verifyLane checks one lane, which stands in so many queues.
func (s *Schedule) verifyLane(id string, l *lane, queues int) error {
	bytes := 0
	for i := range l.queue {
		bytes += size(&l.queue[i])
		if i > 0 && l.queue[i].Position <= l.queue[i-1].Position {
			return fmt.Errorf("position %d stands behind %d", l.queue[i].Position, l.queue[i-1].Position)
		}
	}
	leased := l.state == Running
	switch {
	case l.clientID != id:
		return fmt.Errorf("it is the lane of %q", l.clientID)
	case l.bytes != bytes:
		return fmt.Errorf("counts %d bytes, it has %d", l.bytes, bytes)
	case queues != one(!leased && l.state != Parked && l.state != Left && (l.state != Paused || l.waitsFor != nil)):
		return fmt.Errorf("stands in %d queues", queues)
	case !leased && (l.stuck || l.retries || l.load.bytes != 0 || l.slot != nil && l.state != Ready):
		return fmt.Errorf("isn't leased and is stuck %t, retries %t, loads %d bytes, has a slot %t", l.stuck, l.retries, l.load.bytes, l.slot != nil)
	case l.blocked != l.isBlocked():
		return fmt.Errorf("is counted as blocked %t", l.blocked)
	case len(l.queue) == 0 && l.overcommitted && !leased:
		return fmt.Errorf("overcommits memory without an event")
	}
	return nil
}

// queued returns in how many queues each lane stands.
func (s *Schedule) queued() map[*lane]int {
	n := map[*lane]int{}
	add := func(lanes []*lane) {
		for _, l := range lanes {
			n[l]++
		}
	}
	for _, q := range []*fifo{&s.ready.fresh, &s.ready.granted, &s.ready.retries, &s.memory.starving} {
		add(q.lanes[q.head:])
	}
	for _, t := range s.types.byName {
		for i := range t.slots.waiting {
			q := &t.slots.waiting[i]
			add(q.lanes[q.head:])
		}
		add(t.lanes)
	}
	add(s.delays.heap)
	return n
}
