package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// wrapper makes *sql.Rows and *sql.Row, which sqlc's code asks for and only
// database/sql can make: its one connection answers a query with the cursor that was
// begun. One Tx at a time uses it.
type wrapper struct {
	pool  *sql.DB
	conn  *sql.Conn
	begun *cursor
}

func newWrapper() (*wrapper, error) {
	w := &wrapper{}
	w.pool = sql.OpenDB(w)
	var err error
	w.conn, err = w.pool.Conn(background)
	return w, err
}

func (w *wrapper) rows(c *cursor) (*sql.Rows, error) {
	w.begun = c
	return w.conn.QueryContext(background, "")
}

func (w *wrapper) row(c *cursor) *sql.Row {
	w.begun = c
	return w.conn.QueryRowContext(background, "")
}

func (w *wrapper) close() error { return errors.Join(w.conn.Close(), w.pool.Close()) }

// QueryContext is called by database/sql.
func (w *wrapper) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return w.begun, nil
}

// What else a driver must have is never called, but for Connect and Close.

func (w *wrapper) Connect(context.Context) (driver.Conn, error) { return w, nil }
func (w *wrapper) Close() error                                 { return nil }
func (w *wrapper) Driver() driver.Driver                        { return nil }
func (w *wrapper) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (w *wrapper) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
