package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// stateOf returns the state in which ev is accepted at now, in Unix microseconds.
func stateOf(ev *db.Event, now int64) db.State {
	if !ev.DeliverAt.IsZero() && ev.DeliverAt.UnixMicro() > now {
		return db.Scheduled
	}
	return db.Pending
}

// deliver notes the DeliverAt of an event that was just accepted. One whose time has passed
// is pending at once, at the place that its seq gives it.
func (w *writer) deliver(ev *db.Event) error {
	p := q.InsertDeliveryParams{Seq: ev.Seq, ClientID: ev.ClientID, DeliverAt: ev.DeliverAt.UnixMicro()}
	if stateOf(ev, w.now) == db.Scheduled {
		p.Scheduled = 1
	}
	if err := w.q.InsertDelivery(background, p); err != nil {
		return fmt.Errorf("insert delivery: %w", err)
	}
	if p.Scheduled == 1 {
		w.schedule(ev.ClientID, 1)
		return nil
	}
	return w.pendNow(ev, ev.Seq)
}

// pendNow gives an event its place in its account's order.
func (w *writer) pendNow(ev *db.Event, position int64) error {
	if err := w.hot.insertPending(q.InsertPendingParams{ClientID: ev.ClientID, Turn: position, Seq: ev.Seq, Run: 1}); err != nil {
		return fmt.Errorf("insert pending: %w", err)
	}
	w.pend(ev.ClientID, 1)
	ev.Position, ev.Run = position, 1
	return nil
}

// unschedule reports whether the event was scheduled. It is neither scheduled nor pending
// afterwards.
func (w *writer) unschedule(clientID string, seq int64) (bool, error) {
	n, err := w.q.Unschedule(background, seq)
	if err != nil {
		return false, fmt.Errorf("end schedule: %w", err)
	}
	if n == 1 {
		w.schedule(clientID, -1)
	}
	return n == 1, nil
}

// roomAhead says whether one more scheduled event of the account is taken. The bounds are
// those of pending events: what is scheduled together becomes pending together.
func (w *writer) roomAhead(clientID string) error {
	if n := w.limits.pending; n > 0 && w.scheduled >= n {
		return fmt.Errorf("%w: %d events are scheduled", db.ErrBacklogFull, w.scheduled)
	}
	n := w.limits.accountPending
	if n == 0 {
		return nil
	}
	scheduled, ok := w.scheduledOf[clientID]
	if !ok {
		count, err := w.q.CountScheduledOf(background, clientID)
		if err != nil {
			return fmt.Errorf("count scheduled events: %w", err)
		}
		scheduled = int(count)
		w.scheduledOf[clientID] = scheduled
	}
	if scheduled >= n {
		return fmt.Errorf("%w: %d of its events are scheduled", db.ErrAccountFull, scheduled)
	}
	return nil
}

// isDelivery reports whether the event has a DeliverAt, so that only lanes, and not its seq,
// says where it is pending.
func isDelivery(queries *q.Queries, seq int64) (bool, error) {
	_, err := queries.IsScheduled(background, seq)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for delivery: %w", err)
	}
	return true, nil
}

// sameTime reports whether ev has the DeliverAt of a stored event.
func sameTime(stored sql.NullInt64, ev *db.Event) bool {
	if ev.DeliverAt.IsZero() {
		return !stored.Valid
	}
	return stored.Valid && stored.Int64 == ev.DeliverAt.UnixMicro()
}

// deliverAt is the time that a column has, or the zero Time.
func deliverAt(at sql.NullInt64) time.Time {
	if !at.Valid {
		return time.Time{}
	}
	return unixMicro(at.Int64)
}
