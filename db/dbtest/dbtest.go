// Package dbtest is the conformance suite of a storage: what package db promises, as
// tests that any engine passes. An engine's own tests call Exercise with a function that
// makes an empty database; nothing else is needed.
//
// Each file is one subject. What a database that ends with its Engine can't show (a
// restart, a crash, a second owner) is left out for one that is not Durable.
package dbtest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"inturn/db"
)

// Engine is what a storage offers. What each method guarantees is written in package db,
// and where the method is used: in the interfaces of packages functions/api, runner and
// metrics.
type Engine interface {
	// Of the API:

	Append(ctx context.Context, ev db.Event) (db.Receipt, error)
	AppendBatch(ctx context.Context, b db.Batch) ([]db.AppendResult, error)
	Wait(ctx context.Context, seq int64, stop <-chan struct{}) (*db.Result, error)
	Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error)
	Events(ctx context.Context, f db.Filter) ([]db.StoredEvent, error)
	Dead(ctx context.Context, f db.DeadFilter) ([]db.StoredEvent, error)
	Runs(ctx context.Context, seq, after int64, limit int) ([]db.Result, error)
	Result(ctx context.Context, seq int64) (*db.Result, error)
	State(ctx context.Context, seq int64) (db.State, error)
	Account(ctx context.Context, clientID string) (db.Account, error)
	Accounts(ctx context.Context, f db.AccountFilter) ([]db.Account, error)
	Audit(ctx context.Context, f db.AuditFilter) ([]db.AuditEntry, error)
	Pauses(ctx context.Context) ([]db.PausedType, error)
	Execute(ctx context.Context, a db.Command) (db.CommandResult, error)
	ExecuteAll(ctx context.Context, b db.BulkCommand) (db.BulkResult, error)
	Erase(clientID, who, reason string) (db.EraseReport, error)
	Ready() error

	// Of the runner:

	Settle(items []db.Settlement) (int, error)
	Hold(h db.Hold) error
	PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) (events []db.Event, more bool, err error)
	ExpandReplay(clientID string) (more bool, err error)

	// Of the metrics:

	Stats() db.Stats
	AcceptedAt(ctx context.Context, position int64) (time.Time, error)

	// Of the server:

	OnAppend(fn func([]db.Event))
	OnChange(fn func([]db.Change))
	SetRunning(fn func(clientID string, seq int64) bool)
	Backlog() (accounts []db.Backlog, paused []string, unclean bool)
	Retain(ctx context.Context, age time.Duration)
	Failed() <-chan struct{}
	Err() error
	Epoch() int64
	Close() error

	// Query reads rows of the public tables (outbox, pending, results, runs, accounts,
	// audit) and of functions' tables. Parameters are ?1, ?2 and so on.
	Query(ctx context.Context, query string, args ...any) ([][]any, error)
}

// Scheduler is an Engine that takes events for later (db.Event.DeliverAt), and keeps the errors
// of attempts and what was emitted. Of an Engine that isn't one the cases of these are skipped,
// and the model has none for later: such an Engine must refuse a DeliverAt.
type Scheduler interface {
	Engine
	Errors(ctx context.Context, seq int64) ([]db.AttemptError, error)
	Emitted(ctx context.Context, seq, after int64, limit int) ([]db.Receipt, error)
}

// Options are the options of Database.Open.
type Options struct {
	Tables            []db.Migration // of functions
	Erasures          []db.Erasure
	Check             db.Check // of what effects emit; nil checks nothing
	MaxPending        int      // 0: no bound
	MaxAccountPending int
	Batch             int // how many events are written behind the appends at once, where an engine does that; 0: its default
	Log               *slog.Logger
}

// Database is one database.
type Database interface {
	// Open opens it. A Durable database that another Engine has is waited for until ctx
	// ends; once that one is closed, everything is there again. Of another database each
	// Open makes an empty one.
	Open(ctx context.Context, o Options) (Engine, error)
	// Check returns what must not be in the database, which no Engine has open.
	Check(ctx context.Context) ([]db.Violation, error)
}

// Durable is a Database that outlives its Engine.
type Durable interface {
	Database
	// Crash returns the database as a kill of the process at this moment would leave it.
	// The Engine that has it open goes on; what it does from now on is not in the result.
	Crash() (Durable, error)
	// Steal gives the database to another owner although an Engine has it, as a process
	// does that finds the owner's signs of life standing still.
	Steal(ctx context.Context) error
}

// New makes an empty database for a test. dir is an empty folder of its own that is
// removed afterwards.
type New func(t testing.TB, dir string) Database

// Exercise holds an engine against the contract.
func Exercise(t *testing.T, empty New) {
	t.Helper()
	for _, subject := range []struct {
		name  string
		cases []testCase
	}{
		{"Durable", durableCases}, {"Identity", identityCases}, {"Order", orderCases}, {"Effects", effectsCases}, {"Failures", failuresCases},
		{"Ownership", ownershipCases}, {"Fairness", fairnessCases}, {"Bounds", boundsCases}, {"Crashes", crashesCases}, {"Operators", operatorsCases}, {"Deletion", deletionCases},
		{"Scheduled", scheduledCases}, {"Attempts", attemptsCases},
	} {
		t.Run(subject.name, func(t *testing.T) {
			for _, c := range subject.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(&suite{T: t, empty: empty})
				})
			}
		})
	}
	t.Run("Model", func(t *testing.T) { model(t, empty) })
}

type testCase struct {
	name string
	run  func(s *suite)
}
