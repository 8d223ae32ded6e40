package postgres

import (
	"inturn/db"
)

// Settle ends runs in one transaction, in order: for each the run is not pending any more,
// the effect runs, the result is written, or none of it. It returns how many were settled
// and, where that is not all, why the next one was not; what follows it has left no trace.
//
// Errors: the effect's own, *PanicError, ErrEffectTooSlow, ErrSuperseded; or the storage's:
// ErrFenced, ErrUnavailable, ErrOutcomeUnknown, ErrClosed. There is no context: what a
// function has finished is recorded, also while stopping. While the server's disk is full
// Settle waits and tries again each second, but not once Close began.
func (d *DB) Settle(items []db.Settlement) (int, error) {
	if len(items) == 0 {
		return 0, nil
	}
	o := &op{
		Work: &settleOp{items: items}, Steps: len(items), Size: 512 * len(items), RetriedWhenFull: true,
		// What has failed before may do so again, and would have its neighbours run twice.
		Exclusive: items[0].Event.Attempt > 1 && items[0].Effect != nil,
	}
	err := d.committer.Do(background, o)
	return o.Done, err
}

// settleOp ends runs of one account.
type settleOp struct {
	op      *op // of which it is the work
	items   []db.Settlement
	outputs []*string // of the effects, JSON
	pending []bool
}

func (o *settleOp) account() string { return o.items[0].Event.ClientID }

func (o *settleOp) begin(op *op) { o.op, o.outputs = op, make([]*string, len(o.items)) }

// parallel reports whether all effects touch rows of their account alone.
func (o *settleOp) parallel() bool {
	for i := range o.items[:o.op.Left()] {
		if o.items[i].Effect != nil && !o.items[i].PerAccount {
			return false
		}
	}
	return true
}

func (o *settleOp) hasEffects() bool {
	for i := range o.items[:o.op.Left()] {
		if o.items[i].Effect != nil && o.items[i].Status != db.Dead {
			return true
		}
	}
	return false
}

// Hold records the attempts of an account's head, which keeps its place. Errors:
// ErrSuperseded if the run is not pending any more, or the storage's as of Settle.
func (d *DB) Hold(h db.Hold) error {
	return d.committer.Do(background, &op{Work: &holdOp{hold: h}, Size: 512, RetriedWhenFull: true})
}

type holdOp struct {
	hold  db.Hold
	err   error
	found bool
}

func (o *holdOp) account() string { return o.hold.Event.ClientID }
func (o *holdOp) outcome() error  { return o.err }
