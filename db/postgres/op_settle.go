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
	op := &settleOp{items: items, limit: len(items), caller: newCaller()}
	if err := d.committer.submit(op); err != nil {
		return 0, err
	}
	<-op.done
	return op.n, op.err
}

// settleOp ends runs of one account.
type settleOp struct {
	caller
	items    []db.Settlement
	n        int       // settled
	at       int       // the item whose effect runs
	limit    int       // items from here on are excluded
	excluded error     // why
	outputs  []*string // of the effects, JSON
	pending  []bool
}

func (o *settleOp) kept() bool { return true }

// alone: what has failed before may do so again, and would have its neighbours run twice.
func (o *settleOp) alone() bool {
	return len(o.items) > 0 && o.items[0].Event.Attempt > 1 && o.items[0].Effect != nil
}

func (o *settleOp) account() string {
	if len(o.items) == 0 {
		return ""
	}
	return o.items[0].Event.ClientID
}

func (o *settleOp) size() int { return 512 * len(o.items) }

func (o *settleOp) begin() { o.at, o.outputs = 0, make([]*string, o.limit) }

// cut leaves out the item that has failed, and what follows it. It reports whether any is
// left.
func (o *settleOp) cut(err error) bool {
	at := min(o.at, o.limit-1)
	if at <= 0 {
		return false
	}
	o.limit, o.excluded = at, err
	return true
}

func (o *settleOp) finish(err error) {
	if err == nil {
		o.n, err = o.limit, o.excluded
	}
	o.caller.finish(err)
}

// parallel reports whether all effects touch rows of their account alone.
func (o *settleOp) parallel() bool {
	for i := range o.items[:o.limit] {
		if o.items[i].Effect != nil && !o.items[i].PerAccount {
			return false
		}
	}
	return true
}

func (o *settleOp) hasEffects() bool {
	for i := range o.items[:o.limit] {
		if o.items[i].Effect != nil && o.items[i].Status != db.Dead {
			return true
		}
	}
	return false
}

// Hold records the attempts of an account's head, which keeps its place. Errors:
// ErrSuperseded if the run is not pending any more, or the storage's as of Settle.
func (d *DB) Hold(h db.Hold) error {
	op := &holdOp{hold: h, caller: newCaller()}
	if err := d.committer.submit(op); err != nil {
		return err
	}
	<-op.done
	return op.err
}

type holdOp struct {
	caller
	hold  db.Hold
	found bool
}

func (o *holdOp) kept() bool      { return true }
func (o *holdOp) alone() bool     { return false }
func (o *holdOp) account() string { return o.hold.Event.ClientID }
func (o *holdOp) size() int       { return 512 }
