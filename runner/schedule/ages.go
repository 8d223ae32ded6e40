package schedule

import (
	"container/heap"

	"inturn/db"
)

// ages is lanes by the age of their first pending event, the oldest on top, so that it
// is known without a look at the others.
type ages struct{ lanes []*Lane }

func (a *ages) Len() int           { return len(a.lanes) }
func (a *ages) Less(i, j int) bool { return a.lanes[i].head < a.lanes[j].head }
func (a *ages) Swap(i, j int) {
	a.lanes[i], a.lanes[j] = a.lanes[j], a.lanes[i]
	a.lanes[i].agesAt, a.lanes[j].agesAt = i+1, j+1
}

func (a *ages) Push(x any) {
	l := x.(*Lane)
	a.lanes = append(a.lanes, l)
	l.agesAt = len(a.lanes)
}

func (a *ages) Pop() any {
	last := len(a.lanes) - 1
	l := a.lanes[last]
	a.lanes[last] = nil
	a.lanes = a.lanes[:last]
	l.agesAt = 0
	return l
}

func (a *ages) add(l *Lane)    { heap.Push(a, l) }
func (a *ages) fix(l *Lane)    { heap.Fix(a, l.agesAt-1) }
func (a *ages) remove(l *Lane) { heap.Remove(a, l.agesAt-1) }

// oldest returns 0 if there is no lane.
func (a *ages) oldest() int64 {
	if len(a.lanes) == 0 {
		return 0
	}
	return a.lanes[0].head
}

// age is when a position was given out, as one that isn't replayed has it.
func age(position int64) int64 {
	if position < 0 {
		return position - db.ReplayOffset
	}
	return position
}

// headIs notes the position of l's first pending event, or of what may at the earliest
// be it while the lane is cold.
func (s *Schedule) headIs(l *Lane, position int64) {
	l.headReplays = position < 0
	if a := age(position); l.head != a && l.agesAt > 0 {
		l.head = a
		s.agesOf(l).fix(l)
	}
	s.reclassify(l)
}

func (s *Schedule) agesOf(l *Lane) *ages {
	if l.blocked {
		return &s.blocked
	}
	return &s.free
}

// reclassify notes whether l is free or blocked.
func (s *Schedule) reclassify(l *Lane) {
	blocked := l.isBlocked()
	if l.agesAt == 0 || blocked == l.blocked { // 0: it has been removed
		return
	}
	s.agesOf(l).remove(l)
	l.blocked = blocked
	s.agesOf(l).add(l)
}

// isBlocked reports whether l waits for more than its turn. What a person has replayed
// is as old as it is.
func (l *Lane) isBlocked() bool {
	switch l.state {
	case Delayed, Parked, Paused, Missing:
		return true
	}
	return l.attempts > 0 || l.stuck || l.headReplays
}
