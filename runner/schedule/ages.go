package schedule

import (
	"container/heap"

	"inturn/db"
)

// ages is lanes by the age of their first pending event, the oldest on top, so that it
// is known without a look at the others.
type ages struct{ lanes []*lane }

func (a *ages) Len() int           { return len(a.lanes) }
func (a *ages) Less(i, j int) bool { return a.lanes[i].head < a.lanes[j].head }
func (a *ages) Swap(i, j int) {
	a.lanes[i], a.lanes[j] = a.lanes[j], a.lanes[i]
	a.lanes[i].agesAt, a.lanes[j].agesAt = i+1, j+1
}

func (a *ages) Push(x any) {
	l := x.(*lane)
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

func (a *ages) add(l *lane)    { heap.Push(a, l) }
func (a *ages) fix(l *lane)    { heap.Fix(a, l.agesAt-1) }
func (a *ages) remove(l *lane) { heap.Remove(a, l.agesAt-1) }

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
