package sqlite

import (
	"context"

	"inturn/db"
)

// Execute does what an operator wants, in one transaction with its row in audit, and
// returns once that is committed and fsynced. Doing a thing again is no error
// (CommandResult.Changed is false), so every Command may be sent again.
//
//	Pause    no event is begun from now on; one that runs ends and settles. Events
//	         are taken in as before. Pausing a type holds the accounts whose head is
//	         of it: order within an account is kept.
//	Resume   ends the Pause of the same account, type or everything
//	Retry    *HeadMovedError if Seq is not the head. A head that nothing holds runs
//	         when its turn comes: that is no error
//	Skip     the head ends dead, with the operator and Reason as its error; an attempt
//	         that runs at the moment writes nothing. *HeadMovedError if Seq is not the head
//	Redrive  the event becomes pending at a new place, Run + 1, with the same seq and
//	         receipt; its earlier result is kept in runs. ErrNotDead, ErrStillPending,
//	         ErrGone. A run that was redriven before is no error.
//	Replay   what was finished of the range when Execute was called runs again in the order of
//	         seq, before what is pending. Each event keeps its result until its turn
//	         comes; then that goes to runs. A head that was held begins afresh
//	         afterwards. ErrNothingToReplay, ErrReplaying
//	Cancel   the event ends dead, with Reason in its error; what is pending before and
//	         behind it stays. ErrTooLate if it is finished, or runs (SetRunning); an attempt
//	         that begins while the cancellation is committed writes nothing. ErrGone
//
// ErrNotFound: the account, or the event, never was (a Pause makes the account). ErrBadCommand, ErrKeyReused, and
// the storage's errors as of Settle.
func (d *DB) Execute(ctx context.Context, a db.Command) (db.CommandResult, error) {
	if err := a.Check(); err != nil {
		return db.CommandResult{}, err
	}
	op := newCommand(a)
	var err error
	switch a.Verb {
	case db.Replay:
		op.finished, err = d.finished(ctx, a)
	case db.Cancel:
		op.place.running = d.running.Load()
		op.place.turn, err = d.turnOf(ctx, a)
	}
	if err != nil {
		return db.CommandResult{}, err
	}
	if err := d.committer.Do(ctx, &op.operation); err != nil {
		return db.CommandResult{}, err
	}
	return op.result, nil
}
