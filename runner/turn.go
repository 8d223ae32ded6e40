package runner

import (
	"context"
	"time"

	"inturn/db"
	"inturn/functions"
)

// readEvents is how many events of a cold lane are read at once.
const readEvents = 64

// lease runs a leased lane. A function that ends its goroutine (runtime.Goexit, as
// a test's FailNow does) has failed its attempt; the lane goes on with another one.
func (r *Runner) lease(l *lane) {
	over := false
	defer func() {
		if !over {
			r.release(l)
			l.goexit = true
			go r.lease(l)
		}
	}()
	r.run(l)
	over = true
}

// run is one turn of a leased lane: events one after another, until it has none
// left, has to wait for something, or its slice is over and others wait.
func (r *Runner) run(l *lane) {
	for {
		head, ok := r.fill(l)
		if !ok {
			return
		}
		f := r.function(head.Type)
		if !r.acquire(l, r.limits[f.Name()]) {
			return
		}
		var on bool
		if f.Ahead() && !l.record && !l.goexit {
			on = r.ahead(l, f, head)
		} else {
			on = r.one(l, f, head)
		}
		r.release(l)
		if !on || r.pass(l) {
			return
		}
	}
}

func (r *Runner) function(typ string) functions.Function {
	if f, ok := r.o.Functions.Get(typ); ok {
		return f
	}
	return r.missing
}

// fill returns the lane's head, which it may have to read. It reports false when the
// turn is over: nothing is pending any more, or there is no room for it now.
func (r *Runner) fill(l *lane) (db.Event, bool) {
	for {
		r.mu.Lock()
		switch {
		case r.stopping:
			r.aside(l, left)
			r.mu.Unlock()
			return db.Event{}, false
		case len(l.queue) > 0:
			head := l.queue[0]
			r.mu.Unlock()
			return head, true
		case l.hot:
			delete(r.lanes, l.clientID)
			r.aside(l, left)
			r.mu.Unlock()
			return db.Event{}, false
		case !r.mayRead():
			r.starved.push(l)
			r.aside(l, starving)
			r.mu.Unlock()
			return db.Event{}, false
		}
		missed, after := l.missed, l.tail
		limit, bytes := readEvents, min(maxLaneBytes, r.o.HotBytes-r.bytes)
		if bytes <= 0 {
			limit, l.over = 1, true
			r.overdrew++
		}
		r.mu.Unlock()

		events, more, err := r.store.PendingAfter(r.work, l.clientID, after, limit, bytes)

		r.mu.Lock()
		if err != nil {
			r.log.Error("an account's events can't be read; trying again", "client_id", l.clientID, "error", err.Error())
			r.settleOver(l)
			r.retryLater(l, time.Now().Add(time.Second))
			r.leave(l)
			r.mu.Unlock()
			return db.Event{}, false
		}
		for _, ev := range events {
			r.hold(l, ev, size(&ev))
		}
		if len(events) == 0 {
			r.settleOver(l)
		}
		// What was published since the read began may not be in it.
		l.hot = !more && l.missed == missed
		r.mu.Unlock()
	}
}

// settleOver gives back an overdraft that was not used. mu is held.
func (r *Runner) settleOver(l *lane) {
	if l.over {
		l.over = false
		r.overdrew--
	}
}

// aside ends the lease and leaves the lane in state s. mu is held.
func (r *Runner) aside(l *lane, s state) {
	if l.slot != nil {
		r.free(l.slot)
		l.slot = nil
	}
	l.state = s
	r.leave(l)
}

// acquire takes a slot of lim (nil: none is needed), or puts the lane in its queue.
func (r *Runner) acquire(l *lane, lim *limit) bool {
	if lim == nil && l.slot == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	handed := l.slot
	l.slot = nil
	if handed != nil && handed != lim {
		r.free(handed) // its head has changed while it waited
		handed = nil
	}
	switch {
	case lim == nil:
		return true
	case handed != nil:
	case lim.active < lim.n:
		lim.active++
	default:
		lim.waiting.push(l)
		r.aside(l, waiting)
		return false
	}
	l.inSlot = lim
	return true
}

// release gives the slot of a call back.
func (r *Runner) release(l *lane) {
	if l.inSlot == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free(l.inSlot)
	l.inSlot = nil
}

// free hands a slot to the first lane that waits for it. mu is held.
func (r *Runner) free(lim *limit) {
	if l := lim.waiting.pop(); l != nil {
		l.slot = lim
		r.makeReady(l)
		return
	}
	lim.active--
}

// pass gives the turn to others if it was long enough and they wait.
func (r *Runner) pass(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.ran < r.o.Slice && time.Since(l.since) < sliceTime {
		return false
	}
	if len(l.queue) == 0 && l.hot || r.ready.len()+r.due.len() == 0 {
		return false
	}
	r.makeReady(l)
	r.leave(l)
	return true
}

// advance removes the first n events, which are settled.
func (r *Runner) advance(l *lane, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(l, n)
	l.ran += n
	l.attempts, l.held = 0, false
}

// one runs one attempt of the lane's head. It reports whether the turn goes on.
func (r *Runner) one(l *lane, f functions.Function, ev db.Event) bool {
	p := f.Policy()
	if l.attempts >= p.Attempts {
		// Each of its attempts has ended the process.
		return r.park(l, ev, l.attempts, errEnded)
	}
	recorded := l.record
	if recorded && !r.recordAttempt(l, ev, p) {
		return false
	}
	ev.Attempt = l.attempts + 1
	started := time.Now()
	if l.goexit {
		l.goexit = false
		return r.failed(l, f, ev, started, errGoexit, recorded)
	}
	effect, err := r.call(f, ev, p.Timeout)
	if err != nil {
		return r.failed(l, f, ev, started, err, recorded)
	}
	n, err := r.store.Settle([]db.Settlement{{Event: ev, Status: db.Done, Effect: effect, StartedAt: started, Held: l.held}})
	if n == 1 {
		r.advance(l, 1)
		return true
	}
	return r.notSettled(l, f, ev, started, err, recorded)
}

// ahead works through as much of a slice as is in memory, and settles it as one
// operation. The first failure ends it; what was worked after it is thrown away.
func (r *Runner) ahead(l *lane, f functions.Function, head db.Event) bool {
	if l.attempts >= f.Policy().Attempts {
		return r.park(l, head, l.attempts, errEnded)
	}
	r.mu.Lock()
	events := l.queue[:min(len(l.queue), r.o.Slice)] // its elements don't change before advance
	r.mu.Unlock()
	items := make([]db.Settlement, 0, len(events))
	began := time.Now()
	var failure error
	for i, ev := range events {
		if i > 0 && (ev.Type != f.Name() || time.Since(began) > sliceTime) {
			break
		}
		ev.Attempt = 1
		if i == 0 {
			ev.Attempt = l.attempts + 1
		}
		started := time.Now()
		effect, err := r.call(f, ev, f.Policy().Timeout)
		if err != nil {
			failure = err
			break
		}
		items = append(items, db.Settlement{Event: ev, Status: db.Done, Effect: effect, StartedAt: started, Held: l.held && i == 0})
	}
	settled := 0
	if len(items) > 0 {
		n, err := r.store.Settle(items)
		if n > 0 {
			r.advance(l, n)
		}
		if n < len(items) {
			return r.notSettled(l, f, items[n].Event, items[n].StartedAt, err, false)
		}
		settled = n
	}
	if failure == nil {
		return true
	}
	ev := events[settled]
	ev.Attempt = l.attempts + 1
	return r.failed(l, f, ev, began, failure, false)
}

// recordAttempt writes the attempt into the file before it begins, with the time of
// the next one: should the process end in it, the account waits as after a failure.
func (r *Runner) recordAttempt(l *lane, ev db.Event, p functions.Policy) bool {
	l.record = false
	next := time.Now().Add(backoff(p, l.attempts+1))
	err := r.store.Hold(db.Hold{Event: ev, Attempts: l.attempts + 1, NextAt: next, Error: errEnded.Error()})
	if err != nil {
		return r.storeFailed(l, err)
	}
	l.held = true
	return true
}

// call runs f's first phase within its time limit. A call that ignores its
// cancelled context keeps the account: it never goes on beside it.
func (r *Runner) call(f functions.Function, ev db.Event, limit time.Duration) (db.Effect, error) {
	if f.Ahead() { // pure computation: there is nothing to cancel
		return protect(r.work, f, ev)
	}
	ctx, cancel := context.WithTimeoutCause(r.work, limit, errTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == errTimeout {
			r.log.Warn("a function is over its time limit and was cancelled", "type", ev.Type, "client_id", ev.ClientID,
				"message_id", ev.MessageID, "seq", ev.Seq, "attempt", ev.Attempt, "request_id", ev.RequestID)
		}
	})
	defer stop()
	effect, err := protect(ctx, f, ev)
	if err != nil && context.Cause(ctx) == errTimeout {
		err = errTimeout
	}
	return effect, err
}
