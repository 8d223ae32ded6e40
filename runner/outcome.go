package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"inturn/db"
	"inturn/functions"
)

// notSettled handles what Settle said of ev.
func (le *lease) notSettled(f functions.Function, ev db.Event, started time.Time, err error) bool {
	if errors.Is(err, db.ErrSuperseded) || isEnding(err) {
		return le.storeFailed(ev, err)
	}
	return le.failed(f, ev, started, readable(err))
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

// storeFailed handles an error of the storage. It reports whether the lease goes on,
// which it does where somebody else ended the run: the lane is read again.
func (le *lease) storeFailed(ev db.Event, err error) bool {
	if !errors.Is(err, db.ErrSuperseded) {
		return le.again(ev, err)
	}
	le.r.say(slog.LevelInfo, "an event was ended by somebody else", ev, err)
	le.r.mu.Lock()
	defer le.r.unlock()
	le.r.schedule.Superseded(le.lane)
	return true
}

// failed handles an attempt that did not settle ev. It reports whether the lease goes
// on, which it does only if ev was set aside.
func (le *lease) failed(f functions.Function, ev db.Event, started time.Time, err error) bool {
	r := le.r
	if reject, ok := errors.AsType[*functions.RejectError](err); ok {
		r.say(slog.LevelWarn, "an event was rejected and set aside", ev, err)
		return le.dead(ev, started, reject)
	}
	if r.work.Err() != nil {
		return le.cutShort(ev, err)
	}
	if later, ok := errors.AsType[*functions.PostponeError](err); ok {
		return le.postpone(ev, later)
	}
	p := f.Policy()
	ev.Attempt = le.attempts().N + 1
	if park, ok := errors.AsType[*functions.ParkError](err); ok {
		return le.park(ev, park)
	}
	if ev.Attempt >= p.Attempts {
		return le.exhausted(p, ev, started, err)
	}
	wait := backoff(p, ev.Attempt)
	if again, ok := errors.AsType[*functions.RetryError](err); ok {
		wait = max(again.After, 0)
	}
	r.say(slog.LevelWarn, "an attempt failed; the account waits", ev, err, slog.Duration("next_in", wait))
	return le.hold(db.Hold{Event: ev, Attempts: ev.Attempt, NextAt: time.Now().Add(wait), Error: err.Error()}, OutcomeFailed)
}

// exhausted handles an event that has used up its attempts, of which ev.Attempt is the
// last.
func (le *lease) exhausted(p functions.Policy, ev db.Event, started time.Time, err error) bool {
	if p.Exhausted != functions.ThenDead {
		return le.park(ev, err)
	}
	le.r.say(slog.LevelError, "an event has used up its attempts and is set aside", ev, err)
	return le.dead(ev, started, err)
}

// park leaves the account to a person.
func (le *lease) park(ev db.Event, err error) bool {
	le.r.say(slog.LevelError, "an event can't go on; its account is parked", ev, err, slog.Int("attempts", ev.Attempt))
	return le.hold(db.Hold{Event: ev, Attempts: ev.Attempt, Park: true, Error: err.Error()}, OutcomeParked)
}

// dead sets ev aside; the account goes on.
func (le *lease) dead(ev db.Event, started time.Time, err error) bool {
	n, serr := le.r.store.Settle([]db.Settlement{{Event: ev, Status: db.Dead, Error: err.Error(), StartedAt: started, Held: le.attempts().Stored}})
	if n == 1 {
		le.r.observer.Ended(ev.Type, OutcomeDead)
		le.advance(1, ev.Position)
		return true
	}
	return le.storeFailed(ev, serr)
}

// hold writes down that the head was attempted, and ends the lease.
func (le *lease) hold(h db.Hold, as Outcome) bool {
	r := le.r
	if err := r.store.Hold(h); err != nil {
		return le.storeFailed(h.Event, err)
	}
	r.observer.Ended(h.Event.Type, as)
	r.mu.Lock()
	defer r.unlock()
	r.schedule.Park(le.lane, time.Now())
	return false
}

// cutShort ends the lease after an attempt that the end of the drain has cut short: it
// doesn't count.
func (le *lease) cutShort(ev db.Event, err error) bool {
	r := le.r
	r.say(slog.LevelInfo, "an attempt was cut short by the shutdown", ev, err)
	if a := le.attempts(); a.Recorded {
		err := r.store.Hold(db.Hold{Event: ev, Attempts: a.N, NextAt: time.Now(), Error: ErrStopping.Error()})
		if err != nil {
			return le.storeFailed(ev, err)
		}
	}
	r.mu.Lock()
	defer r.unlock()
	r.schedule.Done(le.lane)
	return false
}

// postpone lets the account wait where the function has tried nothing. It is no
// attempt, and the file is left as it is: all accounts of a function may come here,
// again and again.
func (le *lease) postpone(ev db.Event, later *functions.PostponeError) bool {
	r := le.r
	wait := max(later.After, 0)
	r.say(slog.LevelDebug, "an event was postponed; the account waits", ev, later, slog.Duration("next_in", wait))
	next := time.Now().Add(wait)
	a := le.attempts()
	if a.Recorded { // it was taken for an attempt
		err := r.store.Hold(db.Hold{Event: ev, Attempts: a.N, NextAt: next, Error: later.Error()})
		if err != nil {
			return le.storeFailed(ev, err)
		}
	}
	r.observer.Ended(ev.Type, OutcomeLater)
	r.mu.Lock()
	defer r.unlock()
	if a.Recorded {
		r.schedule.Unrecorded(le.lane)
	}
	r.schedule.Delay(le.lane, next)
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
