package sqlite

import (
	"database/sql"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
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
	ended int             // of these runs the first ones are ended already, by endTogether
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
	pending, err := o.end(w, step)
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
		if err := w.keepError(ev, ev.Attempt, s.Error); err != nil {
			return err
		}
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

// end is writer.end for the run of a step.
func (o *settleOp) end(w *writer, step int) (pending bool, err error) {
	if step == 0 {
		o.ended = 0
		if !w.withSavepoints { // what fails takes the whole group back, also the rows of the steps behind it
			if o.ended, err = o.endTogether(w); err != nil {
				return false, err
			}
		}
	}
	if step < o.ended {
		return true, nil
	}
	return w.end(runOf(&o.items[step].Event))
}

// endTogether takes the runs at the front that are rows of lanes out of there with one
// statement, and returns how many. Where one of these runs is not pending it returns an error, and
// the group runs again, one by one.
func (o *settleOp) endTogether(w *writer) (int, error) {
	if w.writable(o.items[0].Event.ClientID) != nil {
		return 0, nil
	}
	n := 0
	for limit := o.Limit(); n < limit; n++ {
		ev := &o.items[n].Event
		stage := w.memtable.stage(ev.Seq)
		if ev.Run != 1 || ev.Position != ev.Seq || stage != stageFlushed && stage != stageInLane {
			break
		}
	}
	if n < 2 {
		return 0, nil
	}
	first, last := &o.items[0].Event, &o.items[n-1].Event
	rows, err := w.hot.deletePendingRange(q.DeletePendingRangeParams{ClientID: first.ClientID, First: first.Seq, Last: last.Seq})
	if err != nil {
		return 0, fmt.Errorf("delete pending: %w", err)
	}
	if rows != int64(n) {
		return 0, &commit.Error{Class: commit.WithSavepoints, Err: fmt.Errorf("of %d runs %d are pending", n, rows)}
	}
	for i := range o.items[:n] {
		w.move(o.items[i].Event.Seq, stageSettled)
	}
	w.pend(first.ClientID, -n)
	return n, nil
}
