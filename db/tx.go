package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Effect is the second phase of a function: it writes what the function wants
// written, in the transaction that settles the event, and returns the event's
// result (marshalled as JSON, at most MaxOutput bytes; nil for none).
//
// An effect is a pure function of its Tx. It may be called again when a group is
// re-run, but only one call's writes ever commit: so no clock, random numbers,
// I/O or Go state in it. The event has no result yet, and pending may show it or not.
// Other events wait for its transaction: one that takes longer than SlowEffect is
// logged, one that takes longer than MaxEffect is interrupted and its attempt has failed.
type Effect func(Tx) (any, error)

// Limits of an effect.
const (
	SlowEffect = 5 * time.Millisecond
	MaxEffect  = time.Second
	MaxOutput  = 256 << 10 // bytes of a result
	MaxEmit    = 1000      // events of one effect
)

// Tx is the settling transaction as an effect sees it. It satisfies the DBTX
// interface of sqlc's generated code. Statements are prepared once and kept by
// their text. Contexts given to its methods are not used: nothing cancels a
// statement but MaxEffect.
//
// A statement may read every table, and write the rows of functions' own tables and
// nothing else: not of a table or view of the engine, also not by a trigger or a view; no
// DDL, PRAGMA, ATTACH, VACUUM, no statement of transactions, no list of statements. It is
// refused when it is compiled, with an error that names what it would do, and the attempt
// has failed even if the effect ignores the error. After an error that ended the
// transaction or that is the disk's, every further statement is refused with it.
// A Tx and the rows it returned end with the effect.
type Tx interface {
	// ExecContext runs a statement and discards the rows it returns.
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	// QueryContext runs a statement that returns rows.
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	// QueryRowContext runs a statement that returns one row. Its error comes from Scan.
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	// PrepareContext returns an error: a statement must not outlive the transaction.
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	// Emit appends a follow-up event in the same transaction: it is accepted if and
	// only if this event is settled. Emit is idempotent: an identity that was accepted
	// before is no error if type, payload and DeliverAt are the same, else *IDReusedError. Client,
	// message id, type and payload must be set; an empty RequestID takes the event's.
	// An effect emits at most MaxEmit events. An event that runs again (redriven, replayed,
	// or sent again after retention) emits again: take a DeliverAt from its payload, not from
	// the clock, or it is another one by then.
	Emit(ev Event) error
	// EmitReceipt is Emit, and returns the event's receipt, without a Result. Its state
	// is that within the transaction.
	EmitReceipt(ev Event) (Receipt, error)
	// Context returns a context for sqlc's generated code. It is never cancelled.
	Context() context.Context
}

// Check validates and completes an event that an effect emits.
type Check func(Event) (Event, error)

// PanicError is a panic of a function's code, as the failure of one attempt.
type PanicError struct {
	Value any
	Stack []byte // for the log
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
