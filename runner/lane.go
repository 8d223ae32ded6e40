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
	left                  // the process is ending
)

// lane is one account that has pending events. Runner.mu guards it; only the
// goroutine of the lease removes events from it.
type lane struct {
	clientID string
	state    state

	queue  []db.Event // its first pending events, in turn
	bytes  int        // of queue
	hot    bool       // queue is all of its pending events
	missed uint64     // events that went to the file only
	tail   int64      // greatest turn that is or was in memory
	over   bool       // holds an event beyond HotBytes

	attempts int       // of the head, that were begun and not settled
	held     bool      // the file's retry columns are set
	record   bool      // the next attempt is recorded before it begins
	nextAt   time.Time // while retrying
	slot     *limit    // handed over while it waited

	inSlot  *limit    // held by the call that runs now
	goexit  bool      // the last call ended its goroutine
	since   time.Time // begin of the turn
	ran     int       // events of the turn
	retries bool      // counts as retrying
}

// Bounds of one lane's memory; past them it becomes cold.
const (
	maxLaneEvents = 256
	maxLaneBytes  = 1 << 20
	eventOverhead = 256 // bytes of an event beside its texts, about
)

func size(ev *db.Event) int {
	return eventOverhead + len(ev.ClientID) + len(ev.MessageID) + len(ev.Type) + len(ev.Payload) + len(ev.Attrs) + len(ev.RequestID)
}

// Publish takes the new events of a commit, in order. It is called by the
// committer's goroutine and does not block.
func (r *Runner) Publish(events []db.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range events {
		ev := &events[i]
		l := r.lanes[ev.ClientID]
		if l == nil {
			// An account without a lane has nothing pending but this event.
			l = &lane{clientID: ev.ClientID, hot: true}
			r.lanes[ev.ClientID] = l
			r.makeReady(l)
		}
		if ev.Turn <= l.tail {
			continue // was read from the file before it was published
		}
		n := size(ev)
		if l.hot && len(l.queue) < maxLaneEvents && l.bytes+n <= maxLaneBytes && r.bytes+n <= r.o.HotBytes {
			r.hold(l, *ev, n)
		} else {
			l.hot = false
			l.missed++
		}
	}
}

// hold puts ev at the end of l's memory. mu is held.
func (r *Runner) hold(l *lane, ev db.Event, n int) {
	l.queue = append(l.queue, ev)
	l.tail = ev.Turn
	l.bytes += n
	r.bytes += n
}

// drop removes the first n events of l's memory. mu is held.
func (r *Runner) drop(l *lane, n int) {
	for i := range l.queue[:n] {
		b := size(&l.queue[i])
		l.bytes -= b
		r.bytes -= b
		l.queue[i] = db.Event{} // lets go of the payload
	}
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
		if l.over {
			l.over = false
			r.overdrew--
		}
	}
	r.feed()
}

// feed lets one lane that waits for memory try again; the end of its turn lets the
// next. mu is held.
func (r *Runner) feed() {
	if r.starved.len() > 0 && r.mayRead() {
		r.makeReady(r.starved.pop())
	}
}

// forget makes l cold: what it has in memory is read again when its turn comes, so
// that an account that waits long costs no memory. mu is held.
func (r *Runner) forget(l *lane) {
	if len(l.queue) > 0 {
		l.tail = l.queue[0].Turn - 1
		r.drop(l, len(l.queue))
	}
	l.hot = false
	l.missed++
}

// maxOverdrawn lanes may each hold one event beyond HotBytes, so that work goes on
// while the memory is held by lanes that wait.
const maxOverdrawn = 64

// mayRead reports whether a cold lane may take events into memory. mu is held.
func (r *Runner) mayRead() bool { return r.bytes < r.o.HotBytes || r.overdrew < maxOverdrawn }

// retryLater puts l aside until at. mu is held.
func (r *Runner) retryLater(l *lane, at time.Time) {
	l.state, l.nextAt = retrying, at
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
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *laneHeap) Push(x any)        { *h = append(*h, x.(*lane)) }
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}

// limit is the slots of a function that says AtOnce.
type limit struct {
	n       int
	active  int
	waiting fifo
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
