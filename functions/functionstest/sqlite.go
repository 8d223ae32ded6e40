package functionstest

import (
	"context"
	"log/slog"

	"inturn/db"
	"inturn/db/sqlite"
	"inturn/db/sqlite/file"
	"inturn/functions"
)

// memory is the path of a database of SQLite that ends when it is closed.
const memory = ":memory:"

// onSQLite is a database of SQLite at a path.
type onSQLite string

func (path onSQLite) Open(ctx context.Context, set *functions.Set, log *slog.Logger) (Storage, error) {
	d, err := sqlite.Open(ctx, sqlite.Options{
		Path: string(path), Tables: set.Tables(), Erasures: set.Erasures(), Check: set.Check, Log: log,
	})
	if err != nil {
		return nil, err // and no Storage that holds a nil *sqlite.DB
	}
	return d, nil
}

func (path onSQLite) Check(ctx context.Context) ([]db.Violation, error) {
	if path == memory {
		return nil, nil // it has gone
	}
	return file.Verify(ctx, string(path), nil)
}
