package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// place is what Execute finds out about the event of a Cancel outside the committer.
type place struct {
	turn    int64 // of the pending run; 0: there was none
	running *func(clientID string, seq int64) bool
}

// turnOf reads where in its account's order an event is pending. Where that is another
// run than the first it walks the account's lane.
func (r *reader) turnOf(ctx context.Context, a db.Command) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, longReadTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	earlier, err := r.q.LastRun(ctx, a.Seq)
	if err != nil {
		return 0, fmt.Errorf("look for runs: %w", err)
	}
	if earlier == 0 {
		return a.Seq, nil
	}
	turn, err := r.q.TurnOf(ctx, q.TurnOfParams{ClientID: a.ClientID, Seq: a.Seq})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("look for pending: %w", err)
	}
	return turn, nil
}

// cancel ends a pending event as dead. A run that begins again while Execute reads its
// turn is not the one that was to be cancelled: that one has ended.
func (x *execution) cancel() error {
	ev, err := x.event()
	if err != nil {
		return err
	}
	s, head, err := x.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = head.Seq
	ending, err := x.w.q.Ending(background, x.Seq)
	switch {
	case err == nil:
		return x.cancelledBefore(ending.Run)
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("look for result: %w", err)
	case x.place.running != nil && (*x.place.running)(x.ClientID, x.Seq):
		return refusal{db.ErrTooLate}
	}
	earlier, err := x.w.q.LastRun(background, x.Seq)
	if err != nil {
		return fmt.Errorf("look for runs: %w", err)
	}
	reason := "cancelled"
	if x.Reason != "" {
		reason += ": " + x.Reason
	}
	x.result.Run = earlier + 1
	pending, err := x.setAside(runID{x.ClientID, x.place.turn, x.Seq, earlier + 1}, ev, s, reason)
	if err != nil {
		return err
	}
	if !pending {
		return refusal{db.ErrTooLate}
	}
	return nil
}

// cancelledBefore judges a Cancel of a run that has ended: if it was cancelled, all is well.
func (x *execution) cancelledBefore(run int64) error {
	n, err := x.w.q.WasCancelled(background, q.WasCancelledParams{ClientID: text(x.ClientID), Seq: number(x.Seq), Run: run})
	switch {
	case err != nil:
		return fmt.Errorf("read audit: %w", err)
	case n == 0:
		return refusal{db.ErrTooLate}
	}
	x.result.Run = run
	return nil
}
