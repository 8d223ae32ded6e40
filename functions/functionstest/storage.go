package functionstest

import (
	"context"
	"log/slog"

	"inturn/db"
	"inturn/db/sqlite"
	"inturn/db/sqlite/file"
	"inturn/functions"
)

// storage is what an Engine asks of its storage: a part of what package db describes.
type storage interface {
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

// open opens the storage at path with what the functions need of it. Here and in verify
// alone it is SQLite.
func open(path string, set *functions.Set, log *slog.Logger) (storage, error) {
	return sqlite.Open(context.Background(), sqlite.Options{
		Path: path, Tables: set.Tables(), Erasures: set.Erasures(), Check: set.Check, Log: log,
	})
}

// verify returns what must not be in the file of an engine that has stopped.
func verify(path string) ([]db.Violation, error) {
	if path == ":memory:" {
		return nil, nil // it has gone
	}
	return file.Verify(context.Background(), path, nil)
}
