package runner

import (
	"math"
	"time"

	"inturn/db"
)

// Bounds of memory. All lanes together stay below HotBytes, but for one event a
// read that is under way and one a lane that overdraws.
const (
	maxLaneEvents = 256 // of one lane; past them it becomes cold
	maxLaneBytes  = 1 << 20
	maxReadEvents = 64 // of a cold lane, at once
	maxReadBytes  = 64 << 10
	maxReads      = 16  // at once: enough to keep the database's readers busy
	eventOverhead = 256 // bytes of an event beside its texts, about
	maxOverdrawn  = 64  // lanes, so that work goes on whoever holds the memory
	readAgain     = time.Second
)

func size(ev *db.Event) int {
	return eventOverhead + len(ev.ClientID) + len(ev.MessageID) + len(ev.Type) + len(ev.Payload) + len(ev.Attrs) + len(ev.RequestID)
}

// room is how many more bytes l may hold. Half of the memory goes to who comes
// first. The other half is for lanes that run or will run, in equal shares: neither
// deep lanes nor those that wait for something take it from the others. mu is held.
func (r *Runner) room(l *lane) int {
	half := r.o.HotBytes / 2
	room := min(maxLaneBytes-l.bytes, half-r.bytes)
	if !l.waits() {
		room = max(room, min(half/r.o.InFlight-l.bytes, r.o.HotBytes-r.bytes))
	}
	return max(room, 0)
}

// fits reports whether a hot lane may hold one more event. mu is held.
func (r *Runner) fits(l *lane, bytes int) bool {
	if len(l.queue) == 0 && !l.waits() { // what runs next is worth more than a fair share
		return r.bytes+bytes <= r.o.HotBytes
	}
	return len(l.queue) < maxLaneEvents && bytes <= r.room(l)
}

// hold puts ev at the end of l's memory. mu is held.
func (r *Runner) hold(l *lane, ev db.Event) {
	n := size(&ev)
	l.queue = append(l.queue, ev)
	l.tail = ev.Position
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
		r.settleOver(l)
	}
	r.feed()
}

// forget makes l cold: what it has in memory is read again when it is needed, so
// that an account that waits long costs no memory. mu is held.
func (r *Runner) forget(l *lane) {
	if len(l.queue) > 0 {
		l.tail = l.queue[0].Position - 1
		r.drop(l, len(l.queue))
	}
	l.hot = false
	l.missed++
}

// settleOver ends an overdraft. mu is held.
func (r *Runner) settleOver(l *lane) {
	if l.over {
		l.over = false
		r.overdrew--
	}
}

// mayRead reports whether a cold lane may take events into memory. mu is held.
func (r *Runner) mayRead() bool { return r.bytes < r.o.HotBytes || r.overdrew < maxOverdrawn }

// feed lets one lane that waits for memory try again; its read, or the end of its
// turn, lets the next. mu is held.
func (r *Runner) feed() {
	if r.starved.len() > 0 && r.mayRead() {
		r.makeReady(r.starved.pop())
	}
}

// fill returns the lane's head, which it may have to read. It reports false when the
// turn is over: nothing is pending any more, or there is no room for it now.
func (r *Runner) fill(l *lane) (db.Event, bool) {
	for {
		head, do := r.look(l)
		ok := true
		switch do {
		case begin:
			return head, true
		case over:
			return db.Event{}, false
		case read:
			r.reads <- struct{}{}
			ok = r.read(l)
			<-r.reads
		case unroll:
			ok = r.unroll(l)
		}
		if !ok {
			return db.Event{}, false
		}
	}
}

// step is what a lane that is leased does next.
type step int

const (
	begin  step = iota // run its head
	read               // ask the file
	unroll             // go on with its replay
	over               // nothing: the lease has ended
)

// look looks into the lane's memory. An event that it gives out has begun: a pause
// that is committed later lets it end.
func (r *Runner) look(l *lane) (db.Event, step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freshen(l)
	if l.rewind {
		l.rewind = false
		r.forget(l)
		l.tail = math.MinInt64
	}
	switch {
	case r.stopping:
		r.aside(l, left)
	case len(l.queue) == 0 && l.hot && !l.replaying: // idle, whatever is paused
		r.gone(l)
		r.aside(l, left)
	case l.paused:
		r.forget(l)
		l.waitsFor = ""
		r.aside(l, paused)
	case r.halted:
		r.makeReady(l)
		r.leave(l)
	case len(l.queue) == 0 && !l.hot:
		return db.Event{}, read
	case l.replaying && (len(l.queue) == 0 || l.queue[0].Position > 0):
		return db.Event{}, unroll
	default:
		head := l.queue[0]
		wait, is := r.types[head.Type]
		if !is {
			l.lease.begun, l.lease.pauses = time.Now(), r.pauses.Load()
			return head, begin
		}
		wait[l] = struct{}{}
		r.forget(l)
		l.waitsFor = head.Type
		r.aside(l, paused)
	}
	return db.Event{}, over
}

// unroll makes the next events of the lane's replay pending. It reports false when
// the turn is over.
func (r *Runner) unroll(l *lane) bool {
	more, err := r.store.ExpandReplay(l.clientID)
	if err != nil {
		r.again(l, db.Event{ClientID: l.clientID}, err)
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l.replaying, l.rewind = more, true
	l.attempts, l.held = 0, false
	r.judge(l)
	r.recovered(l)
	return true
}

// read reads events of a cold lane. It reports false when the turn is over.
func (r *Runner) read(l *lane) bool {
	r.mu.Lock()
	if !r.mayRead() {
		r.starved.push(l)
		r.aside(l, starving)
		r.mu.Unlock()
		return false
	}
	missed, after, bytes := l.missed, l.tail, min(r.room(l), maxReadBytes)
	limit := min(maxReadEvents, 1+bytes/eventOverhead)
	if r.bytes >= r.o.HotBytes {
		l.over = true
		r.overdrew++
	}
	r.bytes += bytes // so that reads at the same time don't take the same room
	r.mu.Unlock()

	events, more, err := r.store.PendingAfter(r.work, l.clientID, after, limit, max(bytes, 1))

	r.mu.Lock()
	r.bytes -= bytes
	if err != nil {
		r.mu.Unlock()
		r.again(l, db.Event{ClientID: l.clientID}, err)
		return false
	}
	defer r.mu.Unlock()
	for i := range events {
		if bytes -= size(&events[i]); bytes < 0 && i > 0 {
			more = true
			break
		}
		r.hold(l, events[i])
	}
	if len(l.queue) == 0 {
		r.settleOver(l)
	} else {
		r.headIs(l, l.queue[0].Position)
	}
	// What was published since the read began may not be in it.
	l.hot = !more && l.missed == missed
	r.feed()
	return true
}
