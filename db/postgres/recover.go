package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// foundState is what the runner must know when it begins.
type foundState struct {
	backlog []db.Backlog
	paused  []string // types
	unclean bool     // the last owner did not end in order
}

// recover finds what is to run. It passes over lanes, and over what is in no lane yet.
func (f *foundState) recover(ctx context.Context, r *reader, w *writer) error {
	held := map[string]db.Backlog{}
	err := r.rows(ctx, r.pool, `SELECT client_id, coalesce(head_seq, 0), attempts, coalesce(next_at, 0), parked, paused, replay_next IS NOT NULL FROM accounts
		WHERE attempts > 0 OR parked = 1 OR paused = 1 OR replay_next IS NOT NULL`, nil, func(rows pgx.Rows) (bool, error) {
		var b db.Backlog
		var next int64
		var parked, paused int
		err := rows.Scan(&b.ClientID, &b.HeadSeq, &b.Attempts, &next, &parked, &paused, &b.Replaying)
		if b.Parked, b.Paused = parked == 1, paused == 1; next != 0 {
			b.NextAt = unixMicro(next)
		}
		held[b.ClientID] = b
		return true, err
	})
	if err != nil {
		return err
	}
	err = r.rows(ctx, r.pool, `SELECT client_id, count(*), min(turn) FROM pending GROUP BY client_id`, nil, func(rows pgx.Rows) (bool, error) {
		var clientID string
		var n int
		var first int64
		if err := rows.Scan(&clientID, &n, &first); err != nil {
			return false, err
		}
		b := held[clientID]
		delete(held, clientID)
		b.ClientID, b.Events, b.HeadPosition = clientID, n, first
		f.add(w, b)
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, b := range held {
		if b.Paused || b.Replaying {
			f.add(w, b)
		}
	}
	slices.SortFunc(f.backlog, func(a, b db.Backlog) int { return strings.Compare(a.ClientID, b.ClientID) })
	types, err := r.Pauses(ctx)
	for _, p := range types {
		f.paused = append(f.paused, p.Type)
	}
	if err != nil {
		return err
	}
	return r.rows(ctx, r.pool, `SELECT slot, filed FROM slots`, nil, func(rows pgx.Rows) (bool, error) {
		var slot int
		var filed int64
		err := rows.Scan(&slot, &filed)
		if err == nil && slot < slotCount {
			w.memory.filed[slot] = filed
		}
		return true, err
	})
}

func (f *foundState) add(w *writer, b db.Backlog) {
	f.backlog = append(f.backlog, b)
	d := w.memory.begin()
	d.rest(b.ClientID, restParked, b.Parked)
	d.rest(b.ClientID, restPaused, b.Paused)
	d.pend(b.ClientID, b.Events)
	d.commit()
}

// Backlog returns the accounts that had pending events when the database was opened, or that
// are paused or replayed; the types that were paused ("" is everything); and whether the last
// owner ended without closing it.
func (d *DB) Backlog() (accounts []db.Backlog, paused []string, unclean bool) {
	return d.found.backlog, d.found.paused, d.found.unclean
}
