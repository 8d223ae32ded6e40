package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
)

// rowsAdapter makes *sql.Rows and *sql.Row, which sqlc's code asks for and only database/sql
// can make, of rows that have been read: its connections answer a query with the rows in its
// context.
type rowsAdapter struct{ pool *sql.DB }

func newRowsAdapter() *rowsAdapter { return &rowsAdapter{sql.OpenDB(adapted{})} }

type foundKey struct{}

func (a *rowsAdapter) of(f *found) (*sql.Rows, error) {
	return a.pool.QueryContext(context.WithValue(background, foundKey{}, f), "")
}

func (a *rowsAdapter) one(f *found) *sql.Row {
	return a.pool.QueryRowContext(context.WithValue(background, foundKey{}, f), "")
}

func (a *rowsAdapter) close() error { return a.pool.Close() }

// adapted is a driver's connector and connection.
type adapted struct{}

// QueryContext is called by database/sql.
func (adapted) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	return &readRows{found: ctx.Value(foundKey{}).(*found)}, nil
}

// What else a driver must have is never called, but for Connect and Close.

func (a adapted) Connect(context.Context) (driver.Conn, error) { return a, nil }
func (adapted) Close() error                                   { return nil }
func (adapted) Driver() driver.Driver                          { return nil }
func (adapted) Prepare(string) (driver.Stmt, error)            { return nil, driver.ErrSkip }
func (adapted) Begin() (driver.Tx, error)                      { return nil, driver.ErrSkip }

type readRows struct {
	found *found
	next  int
}

func (r *readRows) Columns() []string { return r.found.columns }
func (r *readRows) Close() error      { return nil }

func (r *readRows) Next(to []driver.Value) error {
	if r.next == len(r.found.rows) {
		return io.EOF
	}
	copy(to, r.found.rows[r.next])
	r.next++
	return nil
}

// failedRow makes a row whose Scan returns err: database/sql has no other way to one than a
// connection that can't be had.
func failedRow(err error) *sql.Row {
	pool := sql.OpenDB(noConnection{err})
	defer pool.Close()
	return pool.QueryRowContext(background, "")
}

type noConnection struct{ err error }

func (c noConnection) Connect(context.Context) (driver.Conn, error) { return nil, c.err }
func (c noConnection) Driver() driver.Driver                        { return nil }
