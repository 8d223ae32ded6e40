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
func (w *worker) notSettled(f functions.Function, ev db.Event, started time.Time, err error) bool {
	if errors.Is(err, db.ErrSuperseded) || isEnding(err) {
		return w.storeFailed(ev, err)
	}
	return w.failed(f, ev, started, readable(err))
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
func (w *worker) storeFailed(ev db.Event, err error) bool {
	if !errors.Is(err, db.ErrSuperseded) {
		return w.again(ev, err)
	}
	w.r.say(slog.LevelInfo, "an event was ended by somebody else", ev, err)
	w.r.mu.Lock()
	defer w.r.unlock()
	w.lease.Superseded()
	return true
}

// failed handles an attempt that did not settle ev. It reports whether the lease goes
// on, which it does only if ev was set aside.
func (w *worker) failed(f functions.Function, ev db.Event, started time.Time, err error) bool {
	r := w.r
	if reject, ok := errors.AsType[*functions.RejectError](err); ok {
		r.say(slog.LevelWarn, "an event was rejected and set aside", ev, err)
		return w.dead(ev, started, reject)
	}
	if r.work.Err() != nil {
		return w.cutShort(ev, err)
	}
	if later, ok := errors.AsType[*functions.PostponeError](err); ok {
		return w.postpone(ev, later)
	}
	p := f.Policy()
	ev.Attempt = w.attempts().N + 1
	if park, ok := errors.AsType[*functions.ParkError](err); ok {
		return w.park(ev, park)
	}
	if ev.Attempt >= p.Attempts {
		return w.exhausted(p, ev, started, err)
	}
	wait := backoff(p, ev.Attempt)
	if again, ok := errors.AsType[*functions.RetryError](err); ok {
		wait = max(again.After, 0)
	}
	r.say(slog.LevelWarn, "an attempt failed; the account waits", ev, err, slog.Duration("next_in", wait))
	return w.hold(db.Hold{Event: ev, Attempts: ev.Attempt, NextAt: time.Now().Add(wait), Error: err.Error()}, OutcomeFailed)
}

// exhausted handles an event that has used up its attempts, of which ev.Attempt is the
// last.
func (w *worker) exhausted(p functions.Policy, ev db.Event, started time.Time, err error) bool {
	if p.Exhausted != functions.ThenDead {
		return w.park(ev, err)
	}
	w.r.say(slog.LevelError, "an event has used up its attempts and is set aside", ev, err)
	return w.dead(ev, started, err)
}

// park leaves the account to a person.
func (w *worker) park(ev db.Event, err error) bool {
	w.r.say(slog.LevelError, "an event can't go on; its account is parked", ev, err, slog.Int("attempts", ev.Attempt))
	return w.hold(db.Hold{Event: ev, Attempts: ev.Attempt, Park: true, Error: err.Error()}, OutcomeParked)
}

// dead sets ev aside; the account goes on.
func (w *worker) dead(ev db.Event, started time.Time, err error) bool {
	n, serr := w.r.store.Settle([]db.Settlement{{Event: ev, Status: db.Dead, Error: err.Error(), StartedAt: started, Held: w.attempts().Stored}})
	if n == 1 {
		w.r.observer.Ended(ev.Type, OutcomeDead)
		w.settled, w.position = 1, ev.Position
		return true
	}
	return w.storeFailed(ev, serr)
}

// hold writes down that an attempt of the head has failed, and ends the lease.
func (w *worker) hold(h db.Hold, as Outcome) bool {
	r := w.r
	h.Failed = true
	if err := r.store.Hold(h); err != nil {
		return w.storeFailed(h.Event, err)
	}
	r.observer.Ended(h.Event.Type, as)
	r.mu.Lock()
	defer r.unlock()
	w.lease.Park(time.Now())
	return false
}

// cutShort ends the lease after an attempt that the end of the drain has cut short: it
// doesn't count.
func (w *worker) cutShort(ev db.Event, err error) bool {
	r := w.r
	r.say(slog.LevelInfo, "an attempt was cut short by the shutdown", ev, err)
	if a := w.attempts(); a.Recorded {
		err := r.store.Hold(db.Hold{Event: ev, Attempts: a.N, NextAt: time.Now(), Error: ErrStopping.Error()})
		if err != nil {
			return w.storeFailed(ev, err)
		}
	}
	r.mu.Lock()
	defer r.unlock()
	w.lease.Done()
	return false
}

// postpone lets the account wait where the function has tried nothing. It is no
// attempt, and the file is left as it is: all accounts of a function may come here,
// again and again.
func (w *worker) postpone(ev db.Event, later *functions.PostponeError) bool {
	r := w.r
	wait := max(later.After, 0)
	r.say(slog.LevelDebug, "an event was postponed; the account waits", ev, later, slog.Duration("next_in", wait))
	next := time.Now().Add(wait)
	a := w.attempts()
	if a.Recorded { // it was taken for an attempt
		err := r.store.Hold(db.Hold{Event: ev, Attempts: a.N, NextAt: next, Error: later.Error()})
		if err != nil {
			return w.storeFailed(ev, err)
		}
	}
	r.observer.Ended(ev.Type, OutcomeLater)
	r.mu.Lock()
	defer r.unlock()
	if a.Recorded {
		w.lease.Unrecorded()
	}
	w.lease.Delay(next)
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
