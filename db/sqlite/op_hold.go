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
	op := &holdOp{hold: h, caller: newCaller()}
	if err := d.committer.submit(op); err != nil {
		return err
	}
	<-op.done
	return op.err
}

type holdOp struct {
	caller
	hold db.Hold
}

func (o *holdOp) exec(w *writer) error {
	if o.err = o.excluded; o.err != nil {
		return nil
	}
	own, group := w.try(func() error { return o.record(w) })
	o.err = own
	return group
}

func (o *holdOp) retriedWhenFull() bool { return true }
func (o *holdOp) size() int             { return 512 }

// record writes the hold into the account's row.
func (o *holdOp) record(w *writer) error {
	h := &o.hold
	ev := &h.Event
	if w.erasing.has(ev.ClientID) {
		return refusal{db.ErrSuperseded}
	}
	pending, err := w.isPending(runOf(ev))
	if err != nil {
		return err
	}
	if !pending {
		return refusal{db.ErrSuperseded}
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
