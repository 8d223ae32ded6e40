package runner

import (
	"container/heap"

	"inturn/db"
)

// heads is lanes by the turn of their first pending event, the oldest on top, so
// that the age of the oldest is known without looking at the others. Runner.mu
// guards it.
type heads struct {
	lanes []*lane
	place func(*lane) *int // where a lane stands in lanes, from 1; 0: it doesn't
}

func (h *heads) Len() int           { return len(h.lanes) }
func (h *heads) Less(i, j int) bool { return h.lanes[i].head < h.lanes[j].head }
func (h *heads) Swap(i, j int) {
	h.lanes[i], h.lanes[j] = h.lanes[j], h.lanes[i]
	*h.place(h.lanes[i]), *h.place(h.lanes[j]) = i+1, j+1
}

func (h *heads) Push(x any) {
	l := x.(*lane)
	h.lanes = append(h.lanes, l)
	*h.place(l) = len(h.lanes)
}

func (h *heads) Pop() any {
	last := len(h.lanes) - 1
	l := h.lanes[last]
	h.lanes[last] = nil
	h.lanes = h.lanes[:last]
	*h.place(l) = 0
	return l
}

// put makes l's place what its head says, or takes it out.
func (h *heads) put(l *lane, in bool) {
	switch at := *h.place(l); {
	case in && at == 0:
		heap.Push(h, l)
	case in:
		heap.Fix(h, at-1)
	case at != 0:
		heap.Remove(h, at-1)
	}
}

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
	turn = age(turn)
	if l.head == turn {
		return
	}
	l.head = turn
	if l.all > 0 {
		r.oldest.put(l, true)
	}
	if l.blockedAt > 0 {
		r.blocked.put(l, true)
	}
}

// judge notes whether l is among those that something holds. mu is held.
func (r *Runner) judge(l *lane) {
	if l.all == 0 {
		return // it has gone
	}
	if is := l.attempts > 0 || l.stuck || l.state == parked || l.state == retrying; is != (l.blockedAt > 0) {
		r.blocked.put(l, is)
	}
}

// enter makes l the lane of its account. mu is held.
func (r *Runner) enter(l *lane, head int64) {
	r.lanes[l.clientID] = l
	r.states[l.state]++
	l.head = age(head)
	r.oldest.put(l, true)
}

// age is when a turn was given out, as one that isn't replayed has it.
func age(turn int64) int64 {
	if turn < 0 {
		return turn - db.ReplayTurns
	}
	return turn
}

// gone forgets l, whose account has nothing pending any more. mu is held.
func (r *Runner) gone(l *lane) {
	delete(r.lanes, l.clientID)
	r.oldest.put(l, false)
	r.blocked.put(l, false)
}
