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
	events := step.Events
	if !f.Pure() {
		events = events[:1]
	}
	var items []db.Settlement
	var failed db.Event
	var failure error
	started := w.began
	for i, ev := range events {
		ev.Attempt = 1
		if i == 0 {
			ev.Attempt = head.Attempt
		} else if started = time.Now(); ev.Type != f.Name() || started.Sub(w.began) > aheadTime || w.r.pauses.Load() != w.pauses {
			break
		}
		effect, err := w.call(f, ev)
		if err != nil {
			failed, failure = ev, err
			break
		}
		if items == nil {
			items = make([]db.Settlement, 0, len(events))
		}
		items = append(items, db.Settlement{Event: ev, Status: db.Done, Effect: effect, StartedAt: started, Held: step.Stored && i == 0})
	}
	if len(items) > 0 {
		n, err := w.r.store.Settle(items)
		if n > 0 {
			w.r.observe(items[:n])
			w.advance(n, items[n-1].Event.Position)
		}
		if n < len(items) {
			return w.notSettled(f, items[n].Event, items[n].StartedAt, err)
		}
	}
	if failure != nil {
		return w.failed(f, failed, started, failure)
	}
	return true
}

// record writes the attempt into the file before it begins, with the time of the next
// one: should the process end in it, the account waits as after a failure.
func (w *worker) record(ev db.Event, p functions.Policy) error {
	next := time.Now().Add(backoff(p, ev.Attempt))
	err := w.r.store.Hold(db.Hold{Event: ev, Attempts: ev.Attempt, NextAt: next, Error: errEnded.Error()})
	if err != nil {
		return err
	}
	w.r.mu.Lock()
	defer w.r.unlock()
	w.lease.Recorded()
	return nil
}

// call runs f's first phase.
func (w *worker) call(f functions.Function, ev db.Event) (db.Effect, error) {
	w.calling = ev.Position
	began := time.Now()
	defer func() { w.r.observer.Worked(f.Name(), time.Since(began)) }()
	if f.Pure() { // there is nothing to cancel
		return protect(w.r.work, f, ev)
	}
	return w.r.timed(w.lease, f, ev)
}

// timed calls f within its time limit. A call that ignores its cancelled context keeps
// the account: it never goes on beside it.
func (r *Runner) timed(lease schedule.Lease, f functions.Function, ev db.Event) (db.Effect, error) {
	ctx, cancel := context.WithTimeoutCause(r.work, f.Policy().Timeout, errTimeout)
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
	effect, err := protect(ctx, f, ev)
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

// protect calls f and turns a panic into the attempt's error.
func protect(ctx context.Context, f functions.Function, ev db.Event) (effect db.Effect, err error) {
	defer func() {
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
