package api

import (
	"context"

	"inturn/db"
)

// Store is what the API asks of the storage. The errors that every method may return are
// db.ErrUnavailable, db.ErrFenced and db.ErrCorrupt where the storage fails, db.ErrClosed
// once it is closing, and the error of ctx; what is named below comes beside those. What
// was read is as of one commit.
type Store interface {
	appender
	eventReader
	accountReader
	operator

	// DrainRate returns the number of runnable events and how many a second were settled lately.
	DrainRate() (runnable int, perSecond float64)

	// Ready returns nil while events are taken, else why not.
	Ready() error
}

// appender makes events durable.
type appender interface {
	// Append returns once ev, or the earlier event with its identity (Receipt.Duplicate),
	// is durable. It returns *db.IDReusedError where that one has another payload or type;
	// db.ErrOverloaded, db.ErrBacklogFull, db.ErrAccountFull and db.ErrStorageFull where
	// nothing was written, as with *db.FieldError; and db.ErrOutcomeUnknown where that is not known.
	Append(ctx context.Context, ev db.Event) (db.Receipt, error)

	// AppendBatch appends events in one transaction, and answers each in order; the State and
	// Result of repeats are left to Result. Its error concerns all events and is one of
	// Append's.
	AppendBatch(ctx context.Context, b db.Batch) ([]db.AppendResult, error)

	// Find returns the event with this identity, or db.ErrNotFound.
	Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error)

	// Result returns how the event ended, nil while it is pending or where it isn't kept.
	Result(ctx context.Context, seq int64) (*db.Result, error)

	// State returns the state of that result, db.Scheduled or db.Pending for none.
	State(ctx context.Context, seq int64) (db.State, error)

	// Wait returns how the event ended once it has, or db.ErrClosed once stop is closed.
	Wait(ctx context.Context, seq int64, stop <-chan struct{}) (*db.Result, error)
}

// eventReader reads events and their runs.
type eventReader interface {
	// Find returns db.ErrNotFound where there is no such event.
	Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error)
	Events(ctx context.Context, f db.Filter) ([]db.StoredEvent, error)
	Dead(ctx context.Context, f db.DeadFilter) ([]db.StoredEvent, error)

	// Runs returns earlier runs of an event, those after the run after, in order.
	Runs(ctx context.Context, seq, after int64, limit int) ([]db.Result, error)
}

// accountReader reads accounts, pauses and the audit.
type accountReader interface {
	// Account returns db.ErrNotFound where the client_id never had an event and never was paused.
	Account(ctx context.Context, clientID string) (db.Account, error)
	Accounts(ctx context.Context, f db.AccountFilter) ([]db.Account, error)
	Audit(ctx context.Context, f db.AuditFilter) ([]db.AuditEntry, error)
	Pauses(ctx context.Context) ([]db.PausedType, error)
}

// operator executes what operators ask for.
type operator interface {
	// Execute returns *db.HeadMovedError, db.ErrNotFound, db.ErrNotDead, db.ErrStillPending,
	// db.ErrGone, db.ErrTooLate, db.ErrNothingToReplay, db.ErrReplaying, db.ErrKeyReused or db.ErrBadCommand
	// where nothing was changed, or an error of Append's.
	Execute(ctx context.Context, a db.Command) (db.CommandResult, error)

	// Replayable returns how many events a replay of from..to (0: the first, the newest) would run again.
	Replayable(ctx context.Context, clientID string, from, to int64) (int64, error)

	// ExecuteAll executes a command on many accounts or events in several transactions. With
	// an error it returns what was done until then.
	ExecuteAll(ctx context.Context, b db.BulkCommand) (db.BulkResult, error)

	// Erase deletes all of a client. It returns db.ErrErasing while that is going on.
	Erase(clientID, who, reason string) (db.EraseReport, error)
}
