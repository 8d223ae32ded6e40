package runner

import (
	"container/heap"

	"inturn/db"
)

// heads is lanes by the turn of their first pending event, the oldest on top, so
// that the age of the oldest is known without looking at the others. Runner.mu
// guards it.
type heads struct{ lanes []*lane }

func (h *heads) Len() int           { return len(h.lanes) }
func (h *heads) Less(i, j int) bool { return h.lanes[i].head < h.lanes[j].head }
func (h *heads) Swap(i, j int) {
	h.lanes[i], h.lanes[j] = h.lanes[j], h.lanes[i]
	h.lanes[i].place, h.lanes[j].place = i+1, j+1
}

func (h *heads) Push(x any) {
	l := x.(*lane)
	h.lanes = append(h.lanes, l)
	l.place = len(h.lanes)
}

func (h *heads) Pop() any {
	last := len(h.lanes) - 1
	l := h.lanes[last]
	h.lanes[last] = nil
	h.lanes = h.lanes[:last]
	l.place = 0
	return l
}

// remove takes l out.
func (h *heads) remove(l *lane) { heap.Remove(h, l.place-1) }

// first returns the turn of the oldest, or 0 if there is none.
func (h *heads) first() int64 {
	if len(h.lanes) == 0 {
		return 0
	}
	return h.lanes[0].head
}

// become puts l into state s. Every change of a lane's state goes through here. mu
// is held.
func (r *Runner) become(l *lane, s state) {
	r.states[l.state]--
	r.states[s]++
	l.state = s
	r.judge(l)
}

// headIs notes the turn of l's first pending event, or of what may at the earliest
// be it while the lane is cold. mu is held.
func (r *Runner) headIs(l *lane, turn int64) {
	l.replays = turn < 0
	if turn = age(turn); l.head != turn && l.place > 0 {
		l.head = turn
		heap.Fix(r.headsOf(l), l.place-1)
	}
	r.judge(l)
}

// headsOf is where l stands. mu is held.
func (r *Runner) headsOf(l *lane) *heads {
	if l.blocked {
		return &r.blocked
	}
	return &r.unheld
}

// judge notes whether something holds l. mu is held.
func (r *Runner) judge(l *lane) {
	blocked := l.isHeld()
	if l.place == 0 || blocked == l.blocked { // 0: it has gone
		return
	}
	r.headsOf(l).remove(l)
	l.blocked = blocked
	heap.Push(r.headsOf(l), l)
}

// isHeld reports whether what the lane waits for is not only its turn. What a person
// has replayed is as old as it is.
func (l *lane) isHeld() bool {
	return l.attempts > 0 || l.stuck || l.replays || l.state == parked || l.state == paused || l.state == retrying
}

// enter makes l the lane of its account. mu is held.
func (r *Runner) enter(l *lane, head int64) {
	r.lanes[l.clientID] = l
	r.states[l.state]++
	l.head = age(head)
	heap.Push(&r.unheld, l)
	r.judge(l)
}

// age is when a turn was given out, as one that isn't replayed has it.
func age(turn int64) int64 {
	if turn < 0 {
		return turn - db.ReplayOffset
	}
	return turn
}

// gone forgets l, whose account has nothing pending any more. mu is held.
func (r *Runner) gone(l *lane) {
	delete(r.lanes, l.clientID)
	r.headsOf(l).remove(l)
}
