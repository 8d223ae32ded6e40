package sqlite

import (
	"database/sql"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// Settle ends runs in one transaction, in order: for each the run is not pending any
// more, the effect runs, the result is written, or none of it. It returns how many were
// settled and, where that is not all, why the next one was not; what follows it
// has left no trace.
//
// Errors: the effect's own, *PanicError, ErrEffectTooSlow, ErrSuperseded; or the
// storage's: ErrFenced, ErrUnavailable, ErrOutcomeUnknown, ErrClosed. There is no
// context: what a function has finished is recorded, also while stopping. While
// the disk is full Settle waits and tries again each second, but not once Close
// began: then it returns ErrStorageFull, and the event stays pending.
func (d *DB) Settle(items []db.Settlement) (int, error) {
	if len(items) == 0 {
		return 0, nil
	}
	op := newSettle(items)
	err := d.committer.Do(background, &op.operation)
	return op.Done, err
}

// settleOp ends runs of one account.
type settleOp struct {
	operation
	items []db.Settlement // each is a step
}

func newSettle(items []db.Settlement) *settleOp {
	o := &settleOp{items: items}
	o.Work, o.Steps, o.Size, o.RetriedWhenFull = o, len(items), 512*len(items), true
	return o
}

// run is one run's end.
func (o *settleOp) run(w *writer, step int) error {
	s := &o.items[step]
	ev := &s.Event
	pending, err := w.end(runOf(ev))
	if err != nil {
		return err
	}
	if !pending {
		return refusal{db.ErrSuperseded}
	}
	w.rest(ev.ClientID, restParked, false)
	var output, reason sql.NullString
	if s.Status == db.Dead {
		reason = sql.NullString{String: db.Bounded(s.Error), Valid: true}
	} else if s.Effect != nil {
		if output, err = (&effectTx{w: w, event: *ev}).run(s.Effect); err != nil {
			return err
		}
	}
	result := q.Result{
		Seq: ev.Seq, Run: ev.Run, Turn: ev.Position, Settled: w.nextSettled, Status: string(s.Status), Attempts: int64(ev.Attempt),
		StartedAt: s.StartedAt.UnixMicro(), FinishedAt: time.Now().UnixMicro(), Output: output, Error: reason,
	}
	if err := w.hot.insertResult(q.InsertResultParams(result)); err != nil {
		return fmt.Errorf("insert result: %w", err)
	}
	w.nextSettled++
	w.settled = append(w.settled, result)
	w.notices.settled(ev.ClientID, ev.MessageID, ev.Type, &result)
	if s.Status == db.Dead {
		w.dead = append(w.dead, ev.Type)
	}
	if s.Held {
		if err := w.q.ReleaseAccount(background, ev.ClientID); err != nil {
			return fmt.Errorf("release account: %w", err)
		}
	}
	return nil
}
