package conn

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// rowsAdapter makes *sql.Rows and *sql.Row, which sqlc's code asks for and only
// database/sql can make: its one connection answers a query with the cursor that was
// begun. One Tx at a time uses it.
type rowsAdapter struct {
	pool  *sql.DB
	conn  *sql.Conn
	begun *Cursor
}

func newRowsAdapter() (*rowsAdapter, error) {
	a := &rowsAdapter{}
	a.pool = sql.OpenDB(a)
	var err error
	a.conn, err = a.pool.Conn(background)
	return a, err
}

// Rows makes *sql.Rows of cur. They stay valid until they are closed.
func (c *Conn) Rows(cur *Cursor) (*sql.Rows, error) {
	c.rows.begun = cur
	return c.rows.conn.QueryContext(background, "")
}

// Row makes a *sql.Row of cur.
func (c *Conn) Row(cur *Cursor) *sql.Row {
	c.rows.begun = cur
	return c.rows.conn.QueryRowContext(background, "")
}

func (a *rowsAdapter) close() error { return errors.Join(a.conn.Close(), a.pool.Close()) }

// QueryContext is called by database/sql.
func (a *rowsAdapter) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return a.begun, nil
}

// What else a driver must have is never called, but for Connect and Close.

func (a *rowsAdapter) Connect(context.Context) (driver.Conn, error) { return a, nil }
func (a *rowsAdapter) Close() error                                 { return nil }
func (a *rowsAdapter) Driver() driver.Driver                        { return nil }
func (a *rowsAdapter) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (a *rowsAdapter) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }

// FailedRow makes a row whose Scan returns err: database/sql has no other way to
// one than a connection that can't be had.
func FailedRow(err error) *sql.Row {
	pool := sql.OpenDB(noConnection{err})
	defer pool.Close()
	return pool.QueryRowContext(background, "")
}

type noConnection struct{ err error }

func (c noConnection) Connect(context.Context) (driver.Conn, error) { return nil, c.err }
func (c noConnection) Driver() driver.Driver                        { return nil }
