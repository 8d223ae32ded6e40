package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"inturn/db"
	"inturn/functions"
	"inturn/runner/schedule"
)

// aheadTime bounds the work ahead of the settle of a lane's head, of functions that are
// Pure.
const aheadTime = 250 * time.Millisecond

var (
	errTimeout = errors.New("the function ran longer than its time limit")
	errEnded   = errors.New("the process ended during this attempt")
	errGoexit  = errors.New("the function ended its goroutine")
)

// work attempts the lane's head, and of a Pure function also events behind it, and
// settles all as one operation, in order. The first failure ends that, and what was
// worked behind it is thrown away. It reports whether the lease goes on.
func (w *worker) work(step schedule.Step) bool {
	head := step.Events[0]
	f, _ := w.functions.Get(head.Type)
	p := f.Policy()
	head.Attempt = step.Attempts + 1
	switch {
	case step.Attempts >= p.Attempts: // each has ended the process
		head.Attempt = step.Attempts
		return w.exhausted(p, head, w.began, errEnded)
	case step.Exited:
		return w.failed(f, head, w.began, errGoexit)
	case step.Record:
		if err := w.record(head, p); err != nil {
			return w.storeFailed(head, err)
		}
		step.Stored = true
	}
	items, failed, failure := w.calls(f, p, step)
	if len(items) > 0 {
		n, err := w.r.store.Settle(items)
		if n > 0 {
			w.r.observe(items[:n])
			w.settled, w.position = n, items[n-1].Event.Position
		}
		if n < len(items) {
			failed, failure = items[n], err
		}
	}
	switch n := w.settled; {
	case failure == nil:
		return true
	case n < len(items):
		w.sync()
		return w.notSettled(f, failed.Event, failed.StartedAt, failure)
	default:
		w.sync()
		return w.failed(f, failed.Event, failed.StartedAt, failure)
	}
}

// calls lets f work on the lane's head, and if it is Pure for events behind it, until one
// fails, is of another type, or comes when a slice's time is over or something was
// paused. It returns how to settle those that did not fail, and the failure.
func (w *worker) calls(f functions.Function, p functions.Policy, step schedule.Step) (items []db.Settlement, failed db.Settlement, failure error) {
	pure, n := f.Pure(), len(step.Events)
	if !pure {
		n = 1
	}
	for i, ev := range step.Events[:n] {
		it := db.Settlement{Event: ev, Status: db.Done, StartedAt: w.began, PerAccount: f.PerAccount()}
		if i > 0 {
			if it.StartedAt = time.Now(); ev.Type != step.Events[0].Type || it.StartedAt.Sub(w.began) > aheadTime || w.r.pauses.Load() != w.pauses {
				break
			}
			it.Event.Attempt = 1
		} else {
			it.Event.Attempt, it.Held = step.Attempts+1, step.Stored
		}
		w.calling = ev.Position
		if pure { // there is nothing to cancel
			it.Effect, failure = w.r.protect(w.r.work, f, it.Event)
		} else {
			it.Effect, failure = w.r.timed(w.lease, f, p.Timeout, it.Event)
		}
		if failure != nil {
			return items, it, failure
		}
		if items == nil {
			items = make([]db.Settlement, 0, n)
		}
		items = append(items, it)
	}
	return items, db.Settlement{}, nil
}

// record writes the attempt into the file before it begins, with the time of the next
// one: should the process end in it, the account waits as after a failure.
func (w *worker) record(ev db.Event, p functions.Policy) error {
	next := time.Now().Add(backoff(p, ev.Attempt))
	err := w.r.store.Hold(db.Hold{Event: ev, Attempts: ev.Attempt, NextAt: next, Ahead: true, Error: errEnded.Error()})
	if err != nil {
		return err
	}
	w.r.mu.Lock()
	defer w.r.unlock()
	w.lease.Recorded()
	return nil
}

// timed calls f within its time limit. A call that ignores its cancelled context keeps
// the account: it never goes on beside it.
func (r *Runner) timed(lease schedule.Lease, f functions.Function, limit time.Duration, ev db.Event) (db.Effect, error) {
	ctx, cancel := context.WithTimeoutCause(r.work, limit, errTimeout)
	defer cancel()
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(said)
		if context.Cause(ctx) == errTimeout {
			r.overdue(lease, ev)
		}
	})
	defer func() {
		if !stop() {
			<-said // it must not touch the lane later
			r.returned(lease)
		}
	}()
	effect, err := r.protect(ctx, f, ev)
	if err != nil && context.Cause(ctx) == errTimeout {
		err = fmt.Errorf("%w: %w", errTimeout, err)
	}
	return effect, err
}

// overdue notes a call that should have returned.
func (r *Runner) overdue(lease schedule.Lease, ev db.Event) {
	r.say(slog.LevelWarn, "a function is over its time limit and was cancelled", ev, errTimeout)
	r.mu.Lock()
	defer r.unlock()
	lease.Overdue()
}

func (r *Runner) returned(lease schedule.Lease) {
	r.mu.Lock()
	defer r.unlock()
	lease.Returned()
}

// protect calls f, tells the observer how long that took, and turns a panic into the
// attempt's error.
func (r *Runner) protect(ctx context.Context, f functions.Function, ev db.Event) (effect db.Effect, err error) {
	began := time.Now()
	defer func() {
		r.observer.Worked(ev.Type, time.Since(began))
		if p := recover(); p != nil {
			effect, err = nil, &db.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	effect, err = f.Work(ctx, ev)
	return effect, readable(err)
}

// readable returns err, or the panic that asking for its text ends in: it is the
// function's, and its text is asked for where a panic would end the process.
func readable(err error) (same error) {
	defer func() {
		if p := recover(); p != nil {
			same = &db.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	if err != nil {
		_ = err.Error()
	}
	return err
}
