package db

import (
	"context"
	"errors"
	"fmt"

	"inturn/db/internal/q"
)

// ErrNotAttempted: an earlier event of the same account was refused, and taking
// this one would let it overtake.
var ErrNotAttempted = errors.New("an earlier event of this account was refused")

// MaxBatchOutput bounds the results of repeats that a batch's answers carry, in bytes.
const MaxBatchOutput = 4 << 20

// Batch is events that are appended in one transaction, in order.
type Batch struct {
	Events []Event
	// Refused holds the accounts of which an earlier event was refused: theirs are
	// not attempted. AppendBatch adds those that it refuses, so that one Batch after
	// another of a stream can share it. Nil: every event is attempted.
	Refused map[string]bool
}

// AppendResult is the answer to one event of a batch: its receipt, or why there is none.
type AppendResult struct {
	Receipt Receipt
	Err     error // *IDReusedError, ErrAccountFull, ErrBacklogFull or ErrNotAttempted
}

// AppendBatch makes the events of b durable, all in one transaction, and returns an
// answer for each, in order, once it is committed and fsynced. An error concerns
// the whole batch and is as of Append; then no answer was given to any of its events.
func (d *DB) AppendBatch(ctx context.Context, b Batch) ([]AppendResult, error) {
	if len(b.Events) == 0 {
		return nil, nil
	}
	op := &batchOp{batch: b, caller: newCaller()}
	if err := d.committer.submit(op); err != nil {
		return nil, err
	}
	select {
	case <-op.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if op.err != nil {
		return nil, op.err
	}
	for clientID := range op.refused {
		b.Refused[clientID] = true
	}
	outputs := 0
	for i := range op.answers {
		a := &op.answers[i]
		if !a.Receipt.Duplicate {
			continue
		}
		s, err := d.Find(ctx, a.Receipt.ClientID, a.Receipt.MessageID)
		switch {
		case err == nil:
			if s.Result != nil {
				if outputs += len(s.Result.Output); outputs > MaxBatchOutput {
					s.Result.Output, s.Result.Omitted = nil, true
				}
			}
			a.Receipt.State, a.Receipt.Result = s.State, s.Result
		case !errors.Is(err, ErrNotFound): // else retention took it since; it was finished
			return nil, err
		}
	}
	return op.answers, nil
}

// batchOp appends the events of a batch. Unlike appendOp it compares repeats inside
// the transaction: whether one is refused decides about those after it.
type batchOp struct {
	caller
	batch   Batch
	answers []AppendResult
	refused map[string]bool
}

func (o *batchOp) exec(w *writer) error {
	o.answers, o.refused, o.err = make([]AppendResult, 0, len(o.batch.Events)), map[string]bool{}, o.excluded
	if o.err != nil {
		return nil
	}
	keepOrder := o.batch.Refused != nil
	for _, ev := range o.batch.Events {
		if keepOrder && (o.refused[ev.ClientID] || o.batch.Refused[ev.ClientID]) {
			o.answers = append(o.answers, AppendResult{Err: ErrNotAttempted})
			continue
		}
		r := Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, State: Pending}
		own, group := w.try(func() (err error) {
			r.Seq, r.Duplicate, err = w.insertOrCompare(ev)
			return err
		})
		if group != nil {
			return group
		}
		if own != nil {
			if keepOrder {
				o.refused[ev.ClientID] = true
			}
			o.answers = append(o.answers, AppendResult{Err: own})
			continue
		}
		o.answers = append(o.answers, AppendResult{Receipt: r})
	}
	return nil
}

func (o *batchOp) patient() bool { return false }

func (o *batchOp) size() int {
	n := 0
	for i := range o.batch.Events {
		n += len(o.batch.Events[i].Payload) + len(o.batch.Events[i].Attrs) + 512
	}
	return n
}

// insertOrCompare is insert that judges a repeat at once.
func (w *writer) insertOrCompare(ev Event) (seq int64, duplicate bool, err error) {
	seq, err = w.insert(ev)
	if err != nil || seq != 0 {
		return seq, false, err
	}
	row, err := w.q.Identity(background, q.IdentityParams{ClientID: ev.ClientID, MessageID: ev.MessageID})
	if err != nil {
		return 0, false, fmt.Errorf("look for event: %w", err)
	}
	if row.Type != ev.Type || row.Payload != string(ev.Payload) {
		return 0, false, refusal{&IDReusedError{Seq: row.Seq}}
	}
	return row.Seq, true, nil
}
