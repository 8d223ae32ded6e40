package runner

import (
	"container/heap"
	"time"

	"inturn/db"
)

type state int

const (
	ready    state = iota // waits for a turn
	running               // leased
	waiting               // for a slot of its function
	retrying              // until nextAt
	starving              // for memory
	parked                // for a person
	paused                // by a person: the account, or the type of its head
	left                  // the process is ending, or nothing is pending any more
	states                // how many there are
)

// lane is one account that has pending events. Runner.mu guards it.
type lane struct {
	clientID string
	state    state

	queue  []db.Event // its first pending events, in turn
	bytes  int        // of queue
	hot    bool       // queue is all of its pending events
	missed uint64     // events that went to the file only
	tail   int64      // greatest turn that is settled, or in memory, or was; see forget
	over   bool       // holds an event beyond HotBytes

	attempts int       // of the head, that were begun and not settled
	held     bool      // the file's retry columns are set
	nextAt   time.Time // while retrying
	slot     *limit    // handed over while it waited
	stuck    bool      // the function that runs is over its time limit

	// What operators have done, as the newest commit says.
	paused    bool
	replaying bool      // a replay goes before what is in memory
	rewind    bool      // what is in memory is out of date
	fresh     bool      // the attempts were forgotten while the head ran
	told      db.Change // the newest
	waitsFor  string    // while paused: the type; "" for the account
	at        int       // place in the heap, while retrying

	head    int64 // turn of the first pending event; while cold, not more than that
	place   int   // place in Runner.free or Runner.blocked, from 1; 0: in neither
	blocked bool  // in which of them
	replays bool  // the first pending event is one that runs again

	retries bool // counts as retrying
	lease   lease
}

// waits reports whether l may keep what it has in memory though it can't run now. mu
// is held.
func (l *lane) waits() bool { return l.state == waiting || l.state == retrying }

// lease is what the goroutine that has a lane leased keeps of it; nobody else
// touches it. It goes with the lane from one lease to the next.
type lease struct {
	since    time.Time // begin of the turn
	begun    time.Time // of the event that look gave out
	pauses   int64     // Runner.pauses at that time
	ran      int       // events of the turn
	inSlot   *limit    // held by the call that runs now
	record   bool      // the next attempt is recorded before it begins
	recorded bool      // this attempt was
	single   int       // so many events run one by one, never ahead
	calling  int64     // turn of the event that a function works on
	ended    int64     // turn of the event at which a function ended its goroutine
}

// Appended takes the new events of a commit, in order. It is called by the
// committer's goroutine and does not block.
func (r *Runner) Appended(events []db.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range events {
		ev := &events[i]
		l := r.lanes[ev.ClientID]
		if l == nil {
			// An account without a lane has nothing pending but this event.
			l = r.newLane(ev.ClientID, ev.Position)
			l.hot = true
		}
		if ev.Position <= l.tail {
			continue // was read from the file before it was published
		}
		if l.hot && r.fits(l, size(ev)) {
			r.hold(l, *ev)
		} else {
			l.hot = false
			l.missed++
		}
	}
}

// newLane makes a lane that is ready, but for a pause. mu is held.
func (r *Runner) newLane(clientID string, head int64) *lane {
	l := &lane{clientID: clientID}
	r.enter(l, head)
	if _, l.paused = r.paused[clientID]; l.paused {
		r.become(l, paused)
	} else {
		r.makeReady(l)
	}
	return l
}

// retryLater puts l aside until at. mu is held.
func (r *Runner) retryLater(l *lane, at time.Time) {
	l.nextAt = at
	r.become(l, retrying)
	heap.Push(&r.retries, l)
	if r.retries[0] == l && !r.stopping {
		r.timer.Reset(time.Until(at))
	}
}

// wakeRetries makes the lanes ready whose time has come.
func (r *Runner) wakeRetries() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.retries) > 0 && !r.retries[0].nextAt.After(now) {
		r.makeReady(heap.Pop(&r.retries).(*lane))
	}
	if len(r.retries) > 0 && !r.stopping {
		r.timer.Reset(time.Until(r.retries[0].nextAt))
	}
}

// laneHeap is the lanes that retry, the earliest first.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].nextAt.Before(h[j].nextAt) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.at = len(*h)
	*h = append(*h, l)
}
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
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
