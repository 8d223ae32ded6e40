package runner

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"inturn/db"
	"inturn/functions"
)

// take runs a leased lane. A function that ends its goroutine (runtime.Goexit, as a
// test's FailNow does) has failed its attempt; the lane goes on with another one.
func (r *Runner) take(l *lane) {
	over := false
	defer func() {
		if !over {
			r.release(l)
			l.lease.ended = l.lease.calling
			go r.take(l)
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
		if !r.acquire(l, r.limits[head.Type]) {
			return
		}
		var on bool
		if f.Pure() && l.lease.single == 0 && (l.lease.ended == 0 || l.lease.ended < head.Position) {
			on = r.ahead(l, f, head)
		} else {
			on = r.one(l, f, head)
		}
		if !on { // the lane is somebody else's already
			return
		}
		r.release(l)
		if r.pass(l) {
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

// pass gives the turn to others if it was long enough and they wait.
func (r *Runner) pass(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.lease.ran < r.o.Slice && time.Since(l.lease.since) < sliceTime {
		return false
	}
	if len(l.queue) == 0 && l.hot || r.ready.len()+r.handed.len()+r.due.len() == 0 {
		return false
	}
	r.makeReady(l)
	r.leave(l)
	return true
}

// advance removes n events, which are settled; turn is the last one's.
func (r *Runner) advance(l *lane, n int, turn int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := 0 // they may have been forgotten meanwhile
	for held < len(l.queue) && l.queue[held].Position <= turn {
		held++
	}
	r.drop(l, held)
	l.tail = max(l.tail, turn)
	l.attempts, l.held, l.fresh = 0, false, false
	r.judge(l)
	if len(l.queue) > 0 {
		r.headIs(l, l.queue[0].Position)
	} else {
		r.headIs(l, turn+1)
	}
	l.lease.recorded = false
	l.lease.ran += n
	l.lease.single = max(l.lease.single-n, 0)
	if l.retries {
		r.recovered(l)
		r.turn.Signal()
	}
}

// one runs one attempt of the lane's head. It reports whether the turn goes on.
func (r *Runner) one(l *lane, f functions.Function, ev db.Event) bool {
	p := f.Policy()
	started := l.lease.begun
	if l.attempts >= p.Attempts {
		// Each of its attempts has ended the process.
		ev.Attempt = l.attempts
		return r.exhausted(l, p, ev, started, errEnded)
	}
	ev.Attempt = l.attempts + 1
	if l.lease.ended == ev.Position {
		l.lease.ended = 0
		return r.failed(l, f, ev, started, errGoexit)
	}
	if l.lease.record {
		if err := r.recordAttempt(l, ev, p); err != nil {
			return r.storeFailed(l, ev, err)
		}
	}
	effect, err := r.call(l, f, ev)
	if err != nil {
		return r.failed(l, f, ev, started, err)
	}
	items := []db.Settlement{{Event: ev, Status: db.Done, Effect: effect, StartedAt: started, Held: l.held}}
	n, err := r.store.Settle(items)
	if n == 1 {
		r.done(items)
		r.advance(l, 1, ev.Position)
		return true
	}
	return r.notSettled(l, f, ev, started, err)
}

// ahead works through as much of a slice as is in memory, and settles it as one
// operation. The first failure ends it; what was worked after it is thrown away.
func (r *Runner) ahead(l *lane, f functions.Function, head db.Event) bool {
	if l.attempts >= f.Policy().Attempts {
		head.Attempt = l.attempts
		return r.exhausted(l, f.Policy(), head, l.lease.begun, errEnded)
	}
	r.mu.Lock()
	events := l.queue[:min(len(l.queue), r.o.Slice)] // its elements don't change before advance
	r.mu.Unlock()
	items := make([]db.Settlement, 0, len(events))
	began := time.Now()
	var failed db.Event
	var failure error
	for i, ev := range events {
		if i > 0 && (ev.Type != f.Name() || time.Since(began) > sliceTime || r.pauses.Load() != l.lease.pauses) {
			break
		}
		ev.Attempt = 1
		if i == 0 {
			ev.Attempt = l.attempts + 1
		}
		started := time.Now()
		if i == 0 {
			started = l.lease.begun
		}
		effect, err := r.call(l, f, ev)
		if err != nil {
			failed, failure = ev, err
			break
		}
		items = append(items, db.Settlement{Event: ev, Status: db.Done, Effect: effect, StartedAt: started, Held: l.held && i == 0})
	}
	if len(items) > 0 {
		n, err := r.store.Settle(items)
		if n > 0 {
			r.done(items[:n])
			r.advance(l, n, items[n-1].Event.Position)
		}
		if n < len(items) {
			return r.notSettled(l, f, items[n].Event, items[n].StartedAt, err)
		}
	}
	if failure == nil {
		return true
	}
	return r.failed(l, f, failed, time.Now(), failure)
}

// recordAttempt writes the attempt into the file before it begins, with the time of
// the next one: should the process end in it, the account waits as after a failure.
func (r *Runner) recordAttempt(l *lane, ev db.Event, p functions.Policy) error {
	next := time.Now().Add(backoff(p, ev.Attempt))
	err := r.store.Hold(db.Hold{Event: ev, Attempts: ev.Attempt, NextAt: next, Error: errEnded.Error()})
	if err != nil {
		return err
	}
	l.lease.record, l.lease.recorded, l.held = false, true, true
	return nil
}

// call runs f's first phase within its time limit. A call that ignores its
// cancelled context keeps the account: it never goes on beside it.
func (r *Runner) call(l *lane, f functions.Function, ev db.Event) (db.Effect, error) {
	l.lease.calling = ev.Position
	began := time.Now()
	defer func() { r.observer.Worked(f.Name(), time.Since(began)) }()
	if f.Pure() { // pure computation: there is nothing to cancel
		return protect(r.work, f, ev)
	}
	ctx, cancel := context.WithTimeoutCause(r.work, f.Policy().Timeout, errTimeout)
	defer cancel()
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(said)
		if context.Cause(ctx) == errTimeout {
			r.overTime(l, ev)
		}
	})
	defer func() {
		if !stop() {
			<-said // it must not touch the lane later
			r.unstick(l)
		}
	}()
	effect, err := protect(ctx, f, ev)
	if err != nil && context.Cause(ctx) == errTimeout {
		err = fmt.Errorf("%w: %w", errTimeout, err)
	}
	return effect, err
}

// overTime tells of a call that should have returned. It may never do so, and what
// its account holds in memory is then better used by others.
func (r *Runner) overTime(l *lane, ev db.Event) {
	r.say(slog.LevelWarn, "a function is over its time limit and was cancelled", ev, errTimeout)
	r.mu.Lock()
	defer r.mu.Unlock()
	l.stuck = true
	r.stuck++
	r.judge(l)
	r.forget(l)
}
