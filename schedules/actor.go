package schedules

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"inturn/db"
)

// store is what the actor needs of the storage.
type store interface {
	Append(ctx context.Context, ev db.Event) (db.Receipt, error)
	Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error)
}

// Observer counts what came of ticks.
type Observer interface {
	// Ticks is called with a number of ticks and their result: "made", "duplicate"
	// (another process was first, or an earlier start of this one), "failed" (each is
	// tried again) or "missed" (none is made up for).
	Ticks(result string, n int)
}

// Options of New. All but Now are needed.
type Options struct {
	// Store takes the events. Append must check events as those of clients are checked.
	Store    store
	Log      *slog.Logger
	Observer Observer
	Now      func() time.Time // nil: time.Now
}

const (
	// lookEvery bounds a wait: a clock that was set, or a machine that slept, is found out.
	lookEvery = 30 * time.Second
	// retryAfter is the wait after a tick that could not be appended.
	retryAfter = time.Second
)

// Actor appends the events of schedules as they come due.
type Actor struct {
	o       Options
	changed chan struct{} // has room for one

	mu   sync.Mutex
	want []Schedule
}

// New makes an actor without schedules.
func New(o Options) *Actor {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Actor{o: o, changed: make(chan struct{}, 1)}
}

// Set replaces all schedules. Those with the name, times and client_id of an earlier one
// go on where it was; others begin now. What is set before Run is taken as the schedules of
// a process that starts: each goes on after the newest tick that the storage has.
func (a *Actor) Set(all []Schedule) {
	a.mu.Lock()
	a.want = slices.Clone(all)
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Next returns when the next tick is, the zero Time for none.
func (a *Actor) Next() (next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Now()
	for _, s := range a.want {
		if tick := s.Times.Next(now); next.IsZero() || !tick.IsZero() && tick.Before(next) {
			next = tick
		}
	}
	return next
}

// entry is a schedule and how far it is.
type entry struct {
	Schedule
	known bool      // last is known
	last  time.Time // the newest tick that was made or passed over
	next  time.Time // the first tick after it, or the zero Time
	up    time.Time // since when this process has had the schedule
}

// Run appends the events of ticks until ctx ends.
func (a *Actor) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var entries []*entry
	for started := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
			entries = a.replace(entries, !started)
			started = true
		case <-timer.C:
		}
		timer.Reset(a.round(ctx, entries))
	}
}

// replace returns the entries of the schedules that are set now.
func (a *Actor) replace(old []*entry, starting bool) []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Now()
	entries := make([]*entry, len(a.want))
	for i, s := range a.want {
		e := &entry{Schedule: s, up: now}
		at := slices.IndexFunc(old, func(o *entry) bool {
			return o.Name == s.Name && o.ClientID == s.ClientID && o.Times.equal(s.Times)
		})
		switch {
		case at >= 0:
			e.known, e.last, e.next, e.up = old[at].known, old[at].last, old[at].next, old[at].up
		case !starting:
			e.passed(now)
		}
		entries[i] = e
	}
	return entries
}

func (e *entry) passed(tick time.Time) { e.known, e.last, e.next = true, tick, e.Times.Next(tick) }

// round makes what is due and returns how long to wait.
func (a *Actor) round(ctx context.Context, entries []*entry) time.Duration {
	wait := lookEvery
	for _, e := range entries {
		err := a.due(ctx, e)
		if ctx.Err() != nil {
			return 0
		}
		if err != nil {
			a.o.Observer.Ticks("failed", 1)
			a.o.Log.Warn("a schedule's tick could not be made: trying again", "schedule", e.Name, "error", err)
			wait = min(wait, retryAfter)
		} else if !e.next.IsZero() {
			wait = min(wait, max(e.next.Sub(a.o.Now()), 0))
		}
	}
	return wait
}

// due makes what is due of one schedule.
func (a *Actor) due(ctx context.Context, e *entry) error {
	now := a.o.Now()
	if !e.known {
		last, err := a.newestMade(ctx, e.Schedule, now)
		if err != nil {
			return err
		}
		e.passed(last)
	}
	if now.Before(e.last) { // the clock was set back: ticks that come again have their events already
		e.passed(now)
	}
	if e.next.IsZero() || e.next.After(now) {
		return nil
	}
	ticks, left := e.Due(e.last, e.up, now)
	for _, tick := range ticks {
		if err := a.appendTick(ctx, e.Schedule, tick); err != nil {
			return err
		}
		e.passed(tick)
	}
	e.passed(now)
	if left > 0 {
		a.o.Observer.Ticks("missed", left)
		a.o.Log.Info("a schedule missed ticks", "schedule", e.Name, "left_out", left, "made", len(ticks))
	}
	return nil
}

// appendTick appends the event of a tick.
func (a *Actor) appendTick(ctx context.Context, s Schedule, tick time.Time) error {
	id := s.MessageID(tick)
	receipt, err := a.o.Store.Append(ctx, db.Event{
		ClientID: s.ClientID, MessageID: id, Type: s.Type, Payload: s.Payload,
	})
	_, reused := errors.AsType[*db.IDReusedError](err)
	switch {
	case reused: // its payload or type was another when it was made
		receipt.Duplicate = true
	case err != nil:
		return err
	}
	result := "made"
	if receipt.Duplicate {
		result = "duplicate"
	}
	a.o.Observer.Ticks(result, 1)
	a.o.Log.Debug("tick", "schedule", s.Name, "client_id", s.ClientID, "message_id", id, "result", result)
	return nil
}

// newestMade returns the newest tick whose event the storage has, or now if it has none
// of the newest ones: the schedule is new, or what it made was deleted.
func (a *Actor) newestMade(ctx context.Context, s Schedule, now time.Time) (time.Time, error) {
	for _, tick := range slices.Backward(s.newest(now)) {
		switch _, err := a.o.Store.Find(ctx, s.ClientID, s.MessageID(tick)); {
		case err == nil:
			return tick, nil
		case !errors.Is(err, db.ErrNotFound):
			return time.Time{}, err
		}
	}
	return now, nil
}
