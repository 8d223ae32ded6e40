package sqlite

import (
	"context"
	"maps"
	"slices"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// recover finds what is to run. It is the one pass over lanes.
func (d *DB) recover(ctx context.Context, w *writer) error {
	held := map[string]q.HeldRow{}
	rows, err := d.reads.Held(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		held[r.ClientID] = r
	}
	backlogs, err := d.reads.Backlogs(ctx)
	if err != nil {
		return err
	}
	waiting := w.memtable.backlogs()
	for _, b := range backlogs {
		if r, ok := waiting[b.ClientID]; ok {
			b.Events, b.HeadTurn = b.Events+r.Events, min(b.HeadTurn, r.HeadTurn)
			delete(waiting, b.ClientID)
		}
		d.found(w, held[b.ClientID], b)
		delete(held, b.ClientID)
	}
	for _, clientID := range slices.Sorted(maps.Keys(waiting)) {
		d.found(w, held[clientID], waiting[clientID])
		delete(held, clientID)
	}
	for clientID, h := range held {
		if h.Paused == 1 || h.ReplayNext.Valid {
			d.found(w, h, q.BacklogsRow{ClientID: clientID})
		}
	}
	pauses, err := d.reads.Pauses(ctx)
	if err != nil {
		return err
	}
	for _, p := range pauses {
		d.paused = append(d.paused, p.Type)
	}
	if books, err := d.reads.Filed(ctx); err != nil {
		return err
	} else if n := int64(w.pending); n != books.Pending {
		d.log.Warn("rows of the file were changed by somebody else; inturn check may tell more", "pending", n, "counted", books.Pending)
	}
	d.stand()
	return nil
}

func (d *DB) found(w *writer, h q.HeldRow, b q.BacklogsRow) {
	a := db.Backlog{
		ClientID: b.ClientID, Events: int(b.Events), HeadPosition: b.HeadTurn, HeadSeq: h.HeadSeq.Int64, Attempts: int(h.Attempts),
		Parked: h.Parked == 1, Paused: h.Paused == 1, Replaying: h.ReplayNext.Valid,
	}
	if h.NextAt.Valid {
		a.NextAt = time.UnixMicro(h.NextAt.Int64)
	}
	d.backlog = append(d.backlog, a)
	w.addBacklog(b.ClientID, a.Events)
	var r rest
	if a.Parked {
		r |= restParked
	}
	if a.Paused {
		r |= restPaused
	}
	w.setRest(b.ClientID, r)
}

// Backlog returns the accounts that had pending events when the file was opened, or
// that are paused or replayed; the types that were paused ("" is everything); and
// whether the last owner ended without closing it.
func (d *DB) Backlog() (accounts []db.Backlog, paused []string, unclean bool) {
	return d.backlog, d.paused, d.unclean
}
