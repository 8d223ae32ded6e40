package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
)

// lookAtClock bounds the wait for the next due time: timers follow a clock that doesn't
// jump, and a wall clock that was set, or a machine that slept, is found out by looking.
const lookAtClock = time.Second

// nothingDue is the next due time where nothing is scheduled, in Unix microseconds.
const nothingDue = math.MaxInt64

// dueTimer makes scheduled events pending when the wall clock says that their time has come.
// It keeps the next due time alone in memory, whatever is scheduled. Until begin it makes nothing
// pending: an event would then be neither in the backlog that Open has read nor handed over.
type dueTimer struct {
	*reader
	committer *commit.Committer[work]
	log       *slog.Logger
	next      atomic.Int64  // no event is due before it; Unix microseconds
	begun     chan struct{} // closed by begin
	beginOnce sync.Once
	wake      chan struct{} // cap 1
	done      chan struct{} // closed when run has ended
}

// newDueTimer reads how many events are scheduled, for the committer, and the next due time.
func newDueTimer(d *DB) (*dueTimer, error) {
	t := &dueTimer{reader: d.reader, committer: d.committer, log: d.log, begun: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{})}
	t.next.Store(nothingDue)
	n, err := d.q.CountScheduled(background)
	if err != nil {
		return nil, fmt.Errorf("count scheduled events: %w", err)
	}
	d.w.scheduled = int(n)
	return t, t.readNext(nothingDue)
}

// readNext takes over the first due time of the file, or atLeast where that is later.
func (t *dueTimer) readNext(atLeast int64) error {
	t.guard.Lock()
	first, err := t.q.FirstDue(background)
	t.guard.Unlock()
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("look for the next due time: %w", err)
	}
	if atLeast != nothingDue {
		first = max(first, atLeast)
	}
	t.lower(first)
	return nil
}

// lower takes over a due time if it is earlier than the next one, and reports whether it is.
func (t *dueTimer) lower(at int64) bool {
	for {
		next := t.next.Load()
		if at >= next {
			return false
		}
		if t.next.CompareAndSwap(next, at) {
			return true
		}
	}
}

// committed takes in what a commit has accepted. It does not block.
func (t *dueTimer) committed(events []db.Event) {
	lowered := false
	for i := range events {
		if ev := &events[i]; ev.Position == 0 {
			lowered = t.lower(ev.DeliverAt.UnixMicro()) || lowered
		}
	}
	if !lowered {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// due returns the time before which nothing is due, the zero Time if nothing is scheduled.
func (t *dueTimer) due() time.Time {
	if next := t.next.Load(); next != nothingDue {
		return unixMicro(next)
	}
	return time.Time{}
}

// begin says that somebody listens to what becomes pending.
func (t *dueTimer) begin() { t.beginOnce.Do(func() { close(t.begun) }) }

// run is the timer's goroutine. It ends with the committer.
func (t *dueTimer) run() {
	defer close(t.done)
	select {
	case <-t.committer.Done():
		return
	case <-t.begun:
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Stop()
		if next := t.next.Load(); next != nothingDue {
			timer.Reset(min(max(time.Until(unixMicro(next)), 0), lookAtClock))
		}
		select {
		case <-t.committer.Done():
			return
		case <-t.wake:
			continue
		case <-timer.C:
		}
		if now := time.Now().UnixMicro(); t.next.Load() <= now {
			t.pass(now)
		}
	}
}

// pass makes everything pending that is due by now, and looks for the next due time.
func (t *dueTimer) pass(now int64) {
	t.next.Store(nothingDue) // before the file is read: what is accepted from here on lowers it
	left, err := t.moveAll()
	atLeast := now
	if left > 0 || err != nil {
		atLeast = now + lookAtClock.Microseconds()
	}
	if err == nil {
		err = t.readNext(atLeast)
	}
	switch {
	case err == nil, errors.Is(err, db.ErrClosed), errors.Is(err, db.ErrFenced), errors.Is(err, db.ErrUnavailable), errors.Is(err, db.ErrOutcomeUnknown):
		return // or it ends with the committer
	}
	t.log.Warn("events that are due can't be made pending; trying again", "error", err.Error())
	t.lower(atLeast)
}

// moveAll makes the due events pending. left is how many stay.
func (t *dueTimer) moveAll() (left int, err error) {
	for after := (dueKey{at: math.MinInt64}); ; {
		due := &dueWork{after: after}
		if err := t.committer.Do(background, &operation{Work: due, Size: 128 * dueEvents, RetriedWhenFull: true}); err != nil {
			return left, err
		}
		left += due.left
		if !due.more {
			return left, nil
		}
		after = due.last
	}
}
