package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// AppendBatch makes the events of b durable, all in one transaction, and returns an
// answer for each, in order, once it is committed and fsynced. An error concerns
// the whole batch and is as of Append; then no answer was given to any of its events.
func (d *DB) AppendBatch(ctx context.Context, b db.Batch) ([]db.AppendResult, error) {
	if len(b.Events) == 0 {
		return nil, nil
	}
	op := newBatch(b)
	if err := d.committer.Do(ctx, &op.operation); err != nil {
		return nil, err
	}
	for clientID := range op.refused {
		b.Refused[clientID] = true
	}
	return op.answers, nil
}

// batchOp appends the events of a batch. Unlike appendOp it compares repeats inside
// the transaction: whether one is refused decides about those after it.
type batchOp struct {
	operation
	batch   db.Batch
	answers []db.AppendResult
	refused map[string]bool
}

func newBatch(b db.Batch) *batchOp {
	o := &batchOp{batch: b}
	o.Work = o
	for i := range b.Events {
		o.Size += sizeOf(&b.Events[i])
	}
	return o
}

func (o *batchOp) run(w *writer, _ int) error {
	o.answers, o.refused = make([]db.AppendResult, 0, len(o.batch.Events)), map[string]bool{}
	keepOrder := o.batch.Refused != nil
	for _, ev := range o.batch.Events {
		if keepOrder && (o.refused[ev.ClientID] || o.batch.Refused[ev.ClientID]) {
			o.answers = append(o.answers, db.AppendResult{Err: db.ErrNotAttempted})
			continue
		}
		r := db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID}
		own, group := w.try(func() (err error) {
			r.Seq, r.Duplicate, err = o.insertOrCompare(w, ev)
			return err
		})
		if group != nil {
			return group
		}
		if own != nil {
			if keepOrder {
				o.refused[ev.ClientID] = true
			}
			o.answers = append(o.answers, db.AppendResult{Err: own})
			continue
		}
		if !r.Duplicate {
			r.State = stateOf(&ev, w.now)
		}
		o.answers = append(o.answers, db.AppendResult{Receipt: r})
	}
	return nil
}

// insertOrCompare is insert that judges a repeat at once.
func (o *batchOp) insertOrCompare(w *writer, ev db.Event) (seq int64, duplicate bool, err error) {
	seq, err = w.insert(ev)
	if err != nil || seq != 0 {
		return seq, false, err
	}
	seq, err = w.hot.findRepeated(q.RepeatedParams{Type: ev.Type, Payload: string(ev.Payload), DeliverAt: sql.NullInt64{Int64: ev.DeliverAt.UnixMicro(), Valid: !ev.DeliverAt.IsZero()}, ClientID: ev.ClientID, MessageID: ev.MessageID})
	switch {
	case err != nil:
		return 0, false, fmt.Errorf("look for event: %w", err)
	case seq < 0:
		return 0, false, refusal{&db.IDReusedError{Seq: -seq}}
	}
	return seq, true, nil
}
