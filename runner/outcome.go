package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"inturn/db"
	"inturn/functions"
)

var (
	errTimeout = errors.New("the function ran longer than its time limit")
	errEnded   = errors.New("the process ended during this attempt")
	errGoexit  = errors.New("the function ended its goroutine")
)

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

// notSettled handles what Settle said of ev.
func (r *Runner) notSettled(l *lane, f functions.Function, ev db.Event, started time.Time, err error) bool {
	if errors.Is(err, db.ErrSuperseded) || isEnding(err) {
		return r.storeFailed(l, ev, err)
	}
	return r.failed(l, f, ev, started, readable(err))
}

// isEnding reports whether err is the storage's last word: the process is ending,
// and the file decides after the restart.
func isEnding(err error) bool {
	for _, e := range []error{db.ErrFenced, db.ErrClosed, db.ErrUnavailable, db.ErrOutcomeUnknown, db.ErrStorageFull} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// storeFailed handles an error of the storage. It reports whether the turn goes on,
// which it does where somebody else ended the run: the lane is read again.
func (r *Runner) storeFailed(l *lane, ev db.Event, err error) bool {
	if !errors.Is(err, db.ErrSuperseded) {
		r.again(l, ev, err)
		return false
	}
	r.say(slog.LevelInfo, "an event was ended by somebody else", ev, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	l.attempts, l.held, l.fresh, l.lease.recorded = 0, false, false, false
	r.judge(l)
	r.recovered(l)
	r.forget(l)
	return true
}

// again ends the lease after an error of the storage: if that is not the end of the
// process, the account goes on from the file in a while. Of ev as much is set as is
// known.
func (r *Runner) again(l *lane, ev db.Event, err error) {
	ending := r.work.Err() != nil || isEnding(err)
	if !ending {
		r.say(slog.LevelError, "the storage failed an account; trying again", ev, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settleOver(l)
	r.forget(l)
	if ending {
		r.aside(l, left)
		return
	}
	r.retryLater(l, time.Now().Add(readAgain))
	r.leave(l)
}

// failed handles an attempt that did not settle ev. It reports whether the turn
// goes on, which it does only if ev was set aside.
func (r *Runner) failed(l *lane, f functions.Function, ev db.Event, started time.Time, err error) bool {
	if reject, ok := errors.AsType[*functions.RejectError](err); ok {
		r.say(slog.LevelWarn, "an event was rejected and set aside", ev, err)
		return r.dead(l, ev, started, reject)
	}
	if r.work.Err() != nil {
		// Cut short by the end of the drain: it doesn't count.
		r.say(slog.LevelInfo, "an attempt was cut short by the shutdown", ev, err)
		if l.lease.recorded {
			err := r.store.Hold(db.Hold{Event: ev, Attempts: l.attempts, NextAt: time.Now(), Error: ErrStopping.Error()})
			if err != nil {
				return r.storeFailed(l, ev, err)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.forget(l)
		r.aside(l, left)
		return false
	}
	if later, ok := errors.AsType[*functions.PostponeError](err); ok {
		return r.postpone(l, ev, later)
	}
	p := f.Policy()
	ev.Attempt = r.attempts(l) + 1
	if park, ok := errors.AsType[*functions.ParkError](err); ok {
		return r.park(l, ev, park)
	}
	if ev.Attempt >= p.Attempts {
		return r.exhausted(l, p, ev, started, err)
	}
	wait := backoff(p, ev.Attempt)
	if again, ok := errors.AsType[*functions.RetryError](err); ok {
		wait = max(again.After, 0)
	}
	r.say(slog.LevelWarn, "an attempt failed; the account waits", ev, err, slog.Duration("next_in", wait))
	h := db.Hold{Event: ev, Attempts: ev.Attempt, NextAt: time.Now().Add(wait), Error: err.Error()}
	return r.keep(l, h, OutcomeFailed)
}

// exhausted handles an event that has used up its attempts, of which ev.Attempt is the
// last.
func (r *Runner) exhausted(l *lane, p functions.Policy, ev db.Event, started time.Time, err error) bool {
	if p.Exhausted != functions.ThenDead {
		return r.park(l, ev, err)
	}
	r.say(slog.LevelError, "an event has used up its attempts and is set aside", ev, err)
	return r.dead(l, ev, started, err)
}

// park leaves the account to a person.
func (r *Runner) park(l *lane, ev db.Event, err error) bool {
	r.say(slog.LevelError, "an event can't go on; its account is parked", ev, err, slog.Int("attempts", ev.Attempt))
	return r.keep(l, db.Hold{Event: ev, Attempts: ev.Attempt, Park: true, Error: err.Error()}, OutcomeParked)
}

// dead sets ev aside; the account goes on.
func (r *Runner) dead(l *lane, ev db.Event, started time.Time, err error) bool {
	n, serr := r.store.Settle([]db.Settlement{{Event: ev, Status: db.Dead, Error: err.Error(), StartedAt: started, Held: l.held}})
	if n == 1 {
		r.observer.Ended(ev.Type, OutcomeDead)
		r.advance(l, 1, ev.Position)
		return true
	}
	return r.storeFailed(l, ev, serr)
}

// keep writes down that the head was attempted, and ends the lease.
func (r *Runner) keep(l *lane, h db.Hold, as Outcome) bool {
	if err := r.store.Hold(h); err != nil {
		return r.storeFailed(l, h.Event, err)
	}
	r.observer.Ended(h.Event.Type, as)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setAside(l)
	return false
}

// postpone lets the account wait where the function has tried nothing. It is no
// attempt, and the file isn't told: all accounts of a function may come here, again
// and again.
func (r *Runner) postpone(l *lane, ev db.Event, later *functions.PostponeError) bool {
	wait := max(later.After, 0)
	r.say(slog.LevelDebug, "an event was postponed; the account waits", ev, later, slog.Duration("next_in", wait))
	next := time.Now().Add(wait)
	if l.lease.recorded { // it was taken for an attempt
		err := r.store.Hold(db.Hold{Event: ev, Attempts: r.attempts(l), NextAt: next, Error: later.Error()})
		if err != nil {
			return r.storeFailed(l, ev, err)
		}
	}
	r.observer.Ended(ev.Type, OutcomeLater)
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.lease.recorded { // the next one is the first that may end the process
		l.held, l.lease.recorded, l.lease.record = l.attempts > 0, false, true
	}
	if r.bytes > r.o.HotBytes/2 {
		r.forget(l) // others can run with this memory
	}
	r.retryLater(l, next)
	r.leave(l)
	return false
}

// maxErrorLog bounds a function's error in the log, in characters.
const maxErrorLog = 4096

// say logs what happened to an event, never its payload.
func (r *Runner) say(level slog.Level, msg string, ev db.Event, err error, more ...slog.Attr) {
	attrs := append([]slog.Attr{
		slog.String("type", ev.Type), slog.String("client_id", ev.ClientID), slog.String("message_id", ev.MessageID),
		slog.Int64("seq", ev.Seq), slog.Int("attempt", ev.Attempt), slog.String("request_id", ev.RequestID),
		slog.String("error", fmt.Sprintf("%.*s", maxErrorLog, err.Error())),
	}, more...)
	if p, ok := errors.AsType[*db.PanicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	r.log.LogAttrs(context.Background(), level, msg, attrs...)
}

// backoff is the wait after so many attempts: it grows from InitialBackoff to MaxBackoff, and a part
// of it is random, so that accounts that failed together don't come back together.
func backoff(p functions.Policy, attempts int) time.Duration {
	d := min(float64(p.InitialBackoff)*math.Pow(p.Multiplier, float64(attempts-1)), float64(p.MaxBackoff))
	return time.Duration(d * (1 - p.Jitter*rand.Float64()))
}
