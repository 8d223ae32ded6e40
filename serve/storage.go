package serve

import (
	"context"
	"log/slog"
	"time"

	"inturn/cli"
	"inturn/db"
	"inturn/db/postgres"
	"inturn/db/sqlite"
	"inturn/functions"
	"inturn/functions/api"
)

// storage is what the server asks of its database: what its parts ask, and its life. What
// is promised stands in package db, and where the parts ask it.
type storage interface {
	api.Store

	Settle(items []db.Settlement) (int, error)
	Hold(h db.Hold) error
	PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) ([]db.Event, bool, error)
	ExpandReplay(clientID string) (more bool, err error)

	Stats() db.Stats
	Counts(ctx context.Context) (dead, paused int, err error)
	FreePages(ctx context.Context) (int64, error)
	AcceptedAt(ctx context.Context, position int64) (time.Time, error)

	OnAppend(fn func([]db.Event))
	OnChange(fn func([]db.Change))
	Watch(fn func([]db.Notice))
	SetRunning(fn func(clientID string, seq int64) bool)
	Backlog() (accounts []db.Backlog, paused []string, unclean bool)
	Retain(ctx context.Context, age time.Duration)
	Epoch() int64
	Warning() string
	SQL(ctx context.Context, text string, limit int) (db.SQLRows, error)
	Failed() <-chan struct{}
	Err() error
	Close() error
}

// openStorage opens the database that --db names. Here and in postgresCommands alone it is
// said which engine there is.
func openStorage(ctx context.Context, c *Config, set *functions.Set, check db.Check, log *slog.Logger, observer db.Observer) (storage, error) {
	if cli.IsPostgres(c.DB) {
		d, err := postgres.Open(ctx, postgres.Options{
			URL: c.DB, Schema: c.Schema, Node: c.Node, Tables: set.Tables(), Erasures: set.Erasures(), Check: check,
			MaxPending: c.MaxPending, MaxAccountPending: c.MaxAccountPending, Log: log, Observer: observer,
		})
		if err != nil {
			return nil, err // and no storage that holds a nil *postgres.DB
		}
		return d, nil
	}
	d, err := sqlite.Open(ctx, sqlite.Options{
		Path: c.DB, Tables: set.Tables(), Erasures: set.Erasures(), Check: check,
		MaxPending: c.MaxPending, MaxAccountPending: c.MaxAccountPending, Log: log, Observer: observer,
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// postgresCommands is what commands ask of PostgreSQL.
func postgresCommands(set *functions.Set) cli.Postgres {
	return cli.Postgres{
		Verify: func(ctx context.Context, url, schema string) ([]db.Violation, error) {
			return postgres.Verify(ctx, url, schema, set.InvariantsOn(db.Postgres))
		},
		Read: postgres.Read,
	}
}
