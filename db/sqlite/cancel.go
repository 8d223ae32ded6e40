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

// turnOf reads where in its account's order an event is pending, 0 for nowhere. Where its
// seq doesn't say that it walks the account's lane.
func (r *reader) turnOf(ctx context.Context, a db.Command) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, longReadTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	earlier, err := r.q.LastRun(ctx, a.Seq)
	if err != nil {
		return 0, fmt.Errorf("look for runs: %w", err)
	}
	delivery, err := isDelivery(r.q, a.Seq)
	if err != nil || earlier == 0 && !delivery {
		return a.Seq, err
	}
	turn, err := r.q.TurnOf(ctx, q.TurnOfParams{ClientID: a.ClientID, Seq: a.Seq})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("look for pending: %w", err)
	}
	return turn, nil
}

// cancel ends a pending or scheduled event as dead. A run that begins again while Execute reads its
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
	r := runID{x.ClientID, x.place.turn, x.Seq, earlier + 1}
	if was, err := x.w.unschedule(x.ClientID, x.Seq); err != nil {
		return err
	} else if was {
		r.turn = x.w.nextSeq
		x.w.nextSeq++
		return x.endAside(r, ev, s, reason)
	}
	if r.turn == 0 { // it has become pending since Execute has looked
		if r.turn, err = x.w.q.TurnOf(background, q.TurnOfParams{ClientID: x.ClientID, Seq: x.Seq}); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look for pending: %w", err)
		}
	}
	pending, err := x.setAside(r, ev, s, reason)
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
