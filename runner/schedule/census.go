package schedule

import (
	"container/heap"

	"inturn/db"
)

// census is what is counted of the lanes as they change: how many are in each state, and
// which has the oldest pending event.
type census struct {
	states  [states]int
	stuck   int  // lanes that Overdue named
	free    ages // lanes that wait for nothing but their turn
	blocked ages // the others
}

func (c *census) add(l *lane, head int64) {
	c.states[l.state]++
	l.head = age(head)
	c.free.add(l)
	c.reclassify(l)
}

func (c *census) remove(l *lane) {
	c.states[l.state]--
	c.agesOf(l).remove(l)
}

// setState is the only way in which a lane's state changes.
func (c *census) setState(l *lane, to State) {
	c.states[l.state]--
	c.states[to]++
	l.state = to
	c.reclassify(l)
}

// setAttempts notes how many attempts of l's head count, and whether the store has any.
func (c *census) setAttempts(l *lane, n int, stored bool) {
	l.attempts, l.stored, l.forgotten = n, stored, false
	c.reclassify(l)
}

func (c *census) setStuck(l *lane, stuck bool) {
	c.stuck += one(stuck) - one(l.stuck)
	l.stuck = stuck
	c.reclassify(l)
}

// newHead notes that l's first pending event is another one, which was not attempted.
func (c *census) newHead(l *lane, position int64) {
	l.attempts, l.stored, l.forgotten = 0, false, false
	c.headIs(l, position)
}

// headIs notes the position of l's first pending event, or of what may at the earliest
// be it while the lane is cold.
func (c *census) headIs(l *lane, position int64) {
	l.headReplays = position < 0
	if a := age(position); l.head != a && l.agesAt > 0 {
		l.head = a
		c.agesOf(l).fix(l)
	}
	c.reclassify(l)
}

// reclassify notes whether l is free or blocked.
func (c *census) reclassify(l *lane) {
	blocked := l.isBlocked()
	if l.agesAt == 0 || blocked == l.blocked { // 0: it has been removed
		return
	}
	c.agesOf(l).remove(l)
	l.blocked = blocked
	c.agesOf(l).add(l)
}

func (c *census) agesOf(l *lane) *ages {
	if l.blocked {
		return &c.blocked
	}
	return &c.free
}

// isBlocked reports whether l waits for more than its turn. What a person has replayed
// is as old as it is.
func (l *lane) isBlocked() bool {
	switch l.state {
	case Delayed, Parked, Paused, Missing:
		return true
	}
	return l.attempts > 0 || l.stuck || l.headReplays
}

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

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
