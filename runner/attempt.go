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
// settles them as one operation, in order. The first failure ends that, and what was
// worked behind it is thrown away. It reports whether the lease goes on.
func (le *lease) work(step schedule.Step) bool {
	head := step.Events[0]
	f, _ := le.functions.Get(head.Type)
	p := f.Policy()
	head.Attempt = step.Attempts + 1
	switch {
	case step.Attempts >= p.Attempts: // each has ended the process
		head.Attempt = step.Attempts
		return le.exhausted(p, head, le.began, errEnded)
	case step.Exited:
		return le.failed(f, head, le.began, errGoexit)
	case step.Record:
		if err := le.record(head, p); err != nil {
			return le.storeFailed(head, err)
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
	started := le.began
	for i, ev := range events {
		ev.Attempt = 1
		if i == 0 {
			ev.Attempt = head.Attempt
		} else if started = time.Now(); ev.Type != f.Name() || started.Sub(le.began) > aheadTime || le.r.pauses.Load() != le.pauses {
			break
		}
		effect, err := le.call(f, ev)
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
		n, err := le.r.store.Settle(items)
		if n > 0 {
			le.r.observe(items[:n])
			le.advance(n, items[n-1].Event.Position)
		}
		if n < len(items) {
			return le.notSettled(f, items[n].Event, items[n].StartedAt, err)
		}
	}
	if failure != nil {
		return le.failed(f, failed, started, failure)
	}
	return true
}

// record writes the attempt into the file before it begins, with the time of the next
// one: should the process end in it, the account waits as after a failure.
func (le *lease) record(ev db.Event, p functions.Policy) error {
	next := time.Now().Add(backoff(p, ev.Attempt))
	err := le.r.store.Hold(db.Hold{Event: ev, Attempts: ev.Attempt, NextAt: next, Error: errEnded.Error()})
	if err != nil {
		return err
	}
	le.r.mu.Lock()
	defer le.r.unlock()
	le.r.schedule.Recorded(le.lane)
	return nil
}

// call runs f's first phase.
func (le *lease) call(f functions.Function, ev db.Event) (db.Effect, error) {
	le.calling = ev.Position
	began := time.Now()
	defer func() { le.r.observer.Worked(f.Name(), time.Since(began)) }()
	if f.Pure() { // there is nothing to cancel
		return protect(le.r.work, f, ev)
	}
	return le.r.timed(le.lane, f, ev)
}

// timed calls f within its time limit. A call that ignores its cancelled context keeps
// the account: it never goes on beside it.
func (r *Runner) timed(lane *schedule.Lane, f functions.Function, ev db.Event) (db.Effect, error) {
	ctx, cancel := context.WithTimeoutCause(r.work, f.Policy().Timeout, errTimeout)
	defer cancel()
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(said)
		if context.Cause(ctx) == errTimeout {
			r.overdue(lane, ev)
		}
	})
	defer func() {
		if !stop() {
			<-said // it must not touch the lane later
			r.returned(lane)
		}
	}()
	effect, err := protect(ctx, f, ev)
	if err != nil && context.Cause(ctx) == errTimeout {
		err = fmt.Errorf("%w: %w", errTimeout, err)
	}
	return effect, err
}

// overdue notes a call that should have returned.
func (r *Runner) overdue(lane *schedule.Lane, ev db.Event) {
	r.say(slog.LevelWarn, "a function is over its time limit and was cancelled", ev, errTimeout)
	r.mu.Lock()
	defer r.unlock()
	r.schedule.Overdue(lane)
}

func (r *Runner) returned(lane *schedule.Lane) {
	r.mu.Lock()
	defer r.unlock()
	r.schedule.Returned(lane)
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
