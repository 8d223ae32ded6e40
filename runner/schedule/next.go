package schedule

import (
	"container/heap"
	"time"
)

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

// Wants reports whether Next is worth a call now, and when a delay ends at the earliest
// after which it is; zero: there is none.
func (s *Schedule) Wants() (next bool, delay time.Time) {
	if len(s.delays.heap) > 0 {
		delay = s.delays.heap[0].retryAt
	}
	if s.halted || s.running >= s.limits.Running {
		return false, delay
	}
	q := &s.ready
	return q.fresh.len() > 0 || q.granted.len() > 0 || q.retries.len() > 0 && s.mayRetry(), delay
}

// mayRetry reports whether one more lane whose head failed before may be leased.
func (s *Schedule) mayRetry() bool { return s.retrying < max(1, s.limits.Running/retryShare) }

// pause puts a lane aside whose account is paused, so that a pause costs one look at the
// lane and no more.
func (s *Schedule) pause(l *lane) {
	s.census.setState(l, Paused)
	s.types.release(l)
	s.memory.evict(l)
	Lease{s, l}.feed()
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

// readyQueues is the lanes that are ready. They are taken from the three queues by
// turns, so that none has to wait for the others to be empty.
type readyQueues struct {
	census  *census
	fresh   fifo // none of the two below
	granted fifo // have a slot, which would hold up others while it is idle
	retries fifo // their head failed before
	last    int  // which of the three was asked last
}

func (q *readyQueues) len() int { return q.fresh.len() + q.granted.len() + q.retries.len() }

// push makes l ready.
func (q *readyQueues) push(l *lane) {
	q.census.setState(l, Ready)
	switch {
	case l.slot != nil: // also where its head failed before
		q.granted.push(l)
	case l.attempts > 0:
		q.retries.push(l)
	default:
		q.fresh.push(l)
	}
}

// pop returns nil if there is none. It leaves out those whose head failed before, unless
// retriesMay.
func (q *readyQueues) pop(retriesMay bool) *lane {
	for range 3 {
		q.last = (q.last + 1) % 3
		var l *lane
		switch q.last {
		case 0:
			l = q.fresh.pop()
		case 1:
			l = q.granted.pop()
		case 2:
			if retriesMay {
				l = q.retries.pop()
			}
		}
		if l != nil {
			return l
		}
	}
	return nil
}

// fifo is a queue of lanes.
type fifo struct {
	lanes []*lane
	head  int
}

func (q *fifo) len() int { return len(q.lanes) - q.head }

func (q *fifo) push(l *lane) {
	if q.head > 64 && q.head > len(q.lanes)/2 { // move up instead of growing for ever
		n := copy(q.lanes, q.lanes[q.head:])
		clear(q.lanes[n:])
		q.lanes, q.head = q.lanes[:n], 0
	}
	q.lanes = append(q.lanes, l)
}

// pop returns nil if there is none.
func (q *fifo) pop() *lane {
	if q.len() == 0 {
		return nil
	}
	l := q.lanes[q.head]
	q.lanes[q.head] = nil
	if q.head++; q.head == len(q.lanes) {
		q.lanes, q.head = q.lanes[:0], 0
	}
	return l
}

// delays is the lanes that wait until a time.
type delays struct {
	census *census
	heap   delayHeap
}

func (d *delays) add(l *lane, until time.Time) {
	l.retryAt = until
	d.census.setState(l, Delayed)
	heap.Push(&d.heap, l)
}

func (d *delays) remove(l *lane) { heap.Remove(&d.heap, l.at) }

// pop returns a lane whose time has come, or nil.
func (d *delays) pop(now time.Time) *lane {
	if len(d.heap) == 0 || d.heap[0].retryAt.After(now) {
		return nil
	}
	return heap.Pop(&d.heap).(*lane)
}

// delayHeap has the earliest first.
type delayHeap []*lane

func (h delayHeap) Len() int           { return len(h) }
func (h delayHeap) Less(i, j int) bool { return h[i].retryAt.Before(h[j].retryAt) }
func (h delayHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *delayHeap) Push(x any) {
	l := x.(*lane)
	l.at = len(*h)
	*h = append(*h, l)
}

func (h *delayHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
