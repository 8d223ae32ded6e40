package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"inturn/db"
)

// Postgres is what commands ask of a database of PostgreSQL, whose engine they don't know.
type Postgres struct {
	// Verify returns what must not be in the schema.
	Verify func(ctx context.Context, url, schema string) ([]db.Violation, error)
	// Read runs a statement that reads, and calls header once and row for each row.
	Read func(ctx context.Context, url, schema, query string, header func([]string) error, row func([]any) error) error
}

// IsPostgres reports whether the value of --db is the address of a PostgreSQL.
func IsPostgres(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

// PrintableDB returns the value of --db without a password.
func PrintableDB(database string) string {
	if !IsPostgres(database) {
		return database
	}
	u, err := url.Parse(database)
	if err != nil {
		return "postgres://…"
	}
	if q := u.Query(); q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// notAFile is the error of a command that is for files alone.
func notAFile(database string) error {
	return &Hint{
		Err:  fmt.Errorf("%s is no file", PrintableDB(database)),
		Hint: "this command is for SQLite; PostgreSQL has tools of its own: pg_basebackup and an archive of the WAL for backups, VACUUM and pg_repack for space",
	}
}

// explainPostgres says what to do about an error of PostgreSQL.
func explainPostgres(err error) error {
	if errors.Is(err, db.ErrUnavailable) {
		return &Hint{Err: err, Hint: "is the server running, and may this user connect? the address is postgres://USER:PASSWORD@HOST:PORT/DATABASE; PGPASSWORD and ~/.pgpass are read too"}
	}
	return err
}

// countQuery reads all numbers of a database in one statement, so that they belong together.
const countQuery = `
		SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM accounts), (SELECT count(*) FROM pending),
		       (SELECT count(*) FROM results WHERE status = 'done'), (SELECT count(*) FROM results WHERE status = 'dead')`

// find is what Check asks of PostgreSQL. The functions' invariants are in Verify.
func (p Postgres) find(ctx context.Context, c *Check, _ []db.Invariant) (found []db.Violation, n *counts, err error) {
	if found, err = p.Verify(ctx, c.DB, c.Schema); err != nil || len(found) > 0 {
		return found, nil, explainPostgres(err)
	}
	n = &counts{}
	err = p.Read(ctx, c.DB, c.Schema, countQuery, func([]string) error { return nil }, func(values []any) error {
		for i, to := range []*int64{&n.Events, &n.Accounts, &n.Pending, &n.Done, &n.Dead} {
			*to, _ = values[i].(int64)
		}
		return nil
	})
	return nil, n, err
}
