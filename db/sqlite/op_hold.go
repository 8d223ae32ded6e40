package sqlite

import (
	"database/sql"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// Hold records the attempts of an account's head, which keeps its place. Errors:
// ErrSuperseded if the run is not pending any more, or the storage's as of Settle.
func (d *DB) Hold(h db.Hold) error {
	return d.committer.Do(background, holding(&h))
}

func holding(h *db.Hold) *operation {
	return &operation{Work: workFunc(func(w *writer) error { return w.hold(h) }), Size: 512, RetriedWhenFull: true}
}

// hold writes an account's hold into its row.
func (w *writer) hold(h *db.Hold) error {
	ev := &h.Event
	pending, err := w.isPending(runOf(ev))
	if err != nil {
		return err
	}
	if !pending {
		return refusal{db.ErrSuperseded}
	}
	if h.Failed {
		if err := w.keepError(ev, h.Attempts, h.Error); err != nil {
			return err
		}
	}
	w.rest(ev.ClientID, restParked, h.Park)
	if h.Attempts == 0 && !h.Park {
		if err := w.q.ReleaseAccount(background, ev.ClientID); err != nil {
			return fmt.Errorf("release account: %w", err)
		}
		return w.changed(ev.ClientID, false)
	}
	p := q.HoldAccountParams{
		ClientID:  ev.ClientID,
		HeadSeq:   sql.NullInt64{Int64: ev.Seq, Valid: true},
		Attempts:  int64(h.Attempts),
		LastError: sql.NullString{String: db.Bounded(h.Error), Valid: true},
	}
	if h.Park {
		p.Parked = 1
	} else {
		p.NextAt = sql.NullInt64{Int64: h.NextAt.UnixMicro(), Valid: true}
	}
	row, err := w.q.HoldAccount(background, p)
	if err != nil {
		return fmt.Errorf("hold account: %w", err)
	}
	c := db.Change{ClientID: ev.ClientID, Paused: row.Paused == 1, Replaying: row.ReplayNext.Valid, Parked: h.Park, Attempts: h.Attempts}
	if !h.Park {
		c.NextAt = h.NextAt
	}
	w.changes = append(w.changes, c)
	w.notices.held(w.now, h)
	return nil
}
