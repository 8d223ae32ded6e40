package functionstest

import (
	"context"
	"log/slog"

	"inturn/db"
	"inturn/functions"
)

// Database is one database of a storage engine. OpenOn runs functions on it.
type Database interface {
	// Open opens the database with the tables, erasures and checks of the functions in set.
	// It is called again, once the Storage is closed, where a test opens another Engine on
	// the same Database.
	Open(ctx context.Context, set *functions.Set, log *slog.Logger) (Storage, error)
	// Check returns what must not be in the database, which no Storage has open.
	Check(ctx context.Context) ([]db.Violation, error)
}

// Storage is what an Engine asks of an open Database: a part of what package db describes,
// and of what a storage shows to db/dbtest.
type Storage interface {
	// Append and the others up to Query are what a client, an operator or a reader asks.
	Append(ctx context.Context, ev db.Event) (db.Receipt, error)
	Wait(ctx context.Context, seq int64, stop <-chan struct{}) (*db.Result, error)
	Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error)
	Account(ctx context.Context, clientID string) (db.Account, error)
	Execute(ctx context.Context, c db.Command) (db.CommandResult, error)
	Erase(clientID, who, reason string) (db.EraseReport, error)
	Query(ctx context.Context, query string, args ...any) ([][]any, error)

	// Settle and the others up to ExpandReplay are what the runner asks.
	Settle(items []db.Settlement) (int, error)
	Hold(h db.Hold) error
	PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) ([]db.Event, bool, error)
	ExpandReplay(clientID string) (more bool, err error)

	// OnAppend and the others up to Close are its life.
	OnAppend(fn func([]db.Event))
	OnChange(fn func([]db.Change))
	SetRunning(fn func(clientID string, seq int64) bool)
	Backlog() (accounts []db.Backlog, paused []string, unclean bool)
	Failed() <-chan struct{}
	Err() error
	Close() error
}
