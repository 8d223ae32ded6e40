package sqlite

import (
	"context"
	"maps"
	"slices"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// found is what of a file the runner must know when it begins.
type found struct {
	backlog []db.Backlog
	paused  []string // types
	unclean bool     // the last owner did not end in order
	counted int64    // pending events by the last owner's count
}

// recover finds what is to run. It is the one pass over lanes.
func (f *found) recover(ctx context.Context, r *reader, w *writer) error {
	held := map[string]q.HeldRow{}
	rows, err := r.q.Held(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		held[row.ClientID] = row
	}
	backlogs, err := r.q.Backlogs(ctx)
	if err != nil {
		return err
	}
	waiting := w.memtable.backlogs()
	for _, b := range backlogs {
		if more, ok := waiting[b.ClientID]; ok {
			b.Events, b.HeadTurn = b.Events+more.Events, min(b.HeadTurn, more.HeadTurn)
			delete(waiting, b.ClientID)
		}
		f.add(w, held[b.ClientID], b)
		delete(held, b.ClientID)
	}
	for _, clientID := range slices.Sorted(maps.Keys(waiting)) {
		f.add(w, held[clientID], waiting[clientID])
		delete(held, clientID)
	}
	for clientID, h := range held {
		if h.Paused == 1 || h.ReplayNext.Valid {
			f.add(w, h, q.BacklogsRow{ClientID: clientID})
		}
	}
	pauses, err := r.q.Pauses(ctx)
	if err != nil {
		return err
	}
	for _, p := range pauses {
		f.paused = append(f.paused, p.Type)
	}
	books, err := r.q.Flushed(ctx)
	f.counted = books.Pending
	return err
}

func (f *found) add(w *writer, h q.HeldRow, b q.BacklogsRow) {
	a := db.Backlog{
		ClientID: b.ClientID, Events: int(b.Events), HeadPosition: b.HeadTurn, HeadSeq: h.HeadSeq.Int64, Attempts: int(h.Attempts),
		Parked: h.Parked == 1, Paused: h.Paused == 1, Replaying: h.ReplayNext.Valid,
	}
	if h.NextAt.Valid {
		a.NextAt = time.UnixMicro(h.NextAt.Int64)
	}
	f.backlog = append(f.backlog, a)
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
	return d.found.backlog, d.found.paused, d.found.unclean
}
