// Package conn is one connection to a SQLite file that writes: its statements and their
// rows, the guard of its commits, and the layer that writes its WAL. Package conn and
// nobody else knows the driver, and reaches what of SQLite the driver keeps to itself.
package conn

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// background is the context of all statements. It is never cancelled: cancelling a
// statement inside a transaction would roll the whole group back.
var background = context.Background()

// Conn is a connection that writes. It has one user at a time, but for Interrupt.
//
// Beside what database/sql offers it tells whether the transaction still stands and what
// the system's error number is, interrupts a running statement (the driver's own way, a
// context, costs a goroutine for every statement), and runs statements itself, see Stmt.
type Conn struct {
	SQL *sql.Conn // the same connection, for what doesn't run for every event

	db  uintptr // *sqlite3
	tls *libc.TLS

	sync.Mutex // locked while an effect uses the connection: an effect may have goroutines

	mutex   uintptr // SQLite's for the connection, while DisableMutex has taken it out
	texts   []byte  // C's memory, at textsAt: the texts of the statement that runs
	textsAt uintptr

	guard      *guard
	rows       *rowsAdapter
	wal        *walHook
	coalescer  *coalescer  // nil until CoalesceWAL was called
	authorizer *authorizer // nil until Authorize was called
}

// New takes over a connection of the pinned driver; New fails if the driver has changed
// its shape. checkpointed is called with the time that each Checkpoint took.
func New(conn *sql.Conn, checkpointed func(took time.Duration)) (_ *Conn, err error) {
	c := &Conn{SQL: conn}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	err = conn.Raw(func(dc any) (err error) {
		c.db, err = connection(dc)
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := driverError(0, ""); err != nil {
		return nil, err
	}
	c.tls = libc.NewTLS()
	if c.rows, err = newRowsAdapter(); err != nil {
		return nil, err
	}
	if c.guard, err = newGuard(c); err != nil {
		return nil, err
	}
	c.wal = newWALHook(c, checkpointed)
	return c, nil
}

// Close frees the connection. Its statements must be closed before.
func (c *Conn) Close() error {
	var err error
	if c.rows != nil {
		err = c.rows.close()
	}
	if c.guard != nil {
		err = errors.Join(err, c.guard.close(c))
	}
	if c.wal != nil {
		c.wal.close(c)
	}
	if c.coalescer != nil {
		c.coalescer.close(c)
	}
	c.authorizer.close(c)
	if c.tls != nil {
		c.restoreMutex() // so that it is freed with the connection
		c.forgetTexts()
		c.tls.Close()
	}
	return errors.Join(err, c.SQL.Close())
}

// Exec runs a statement, or several, without parameters.
func (c *Conn) Exec(text string) error {
	_, err := c.SQL.ExecContext(background, text)
	return err
}

// connection returns the *sqlite3 of a connection of the driver.
func connection(dc any) (uintptr, error) {
	v := reflect.ValueOf(dc)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return 0, fmt.Errorf("unexpected driver connection %T", dc)
	}
	f := v.Elem().FieldByName("db")
	if !f.IsValid() || f.Kind() != reflect.Uintptr || f.Uint() == 0 {
		return 0, fmt.Errorf("unexpected driver connection %T", dc)
	}
	return uintptr(f.Uint()), nil
}

// DisableMutex takes out the connection's mutex, see takeMutex, until Close.
func (c *Conn) DisableMutex() (err error) {
	c.mutex, err = takeMutex(c.tls, c.db)
	return err
}

// HasMutex reports whether SQLite guards each call on the connection.
func (c *Conn) HasMutex() bool { return sqlite3.Xsqlite3_db_mutex(c.tls, c.db) != 0 }

func (c *Conn) restoreMutex() {
	if c.mutex != 0 {
		(*sqlite3.Tsqlite3)(pointer(c.db)).Fmutex = c.mutex
		c.mutex = 0
	}
}

// takeMutex takes out the mutex with which SQLite guards each call on a connection, a
// dozen for a small row, as SQLITE_OPEN_NOMUTEX would, for which the driver has no
// option. It is for a connection that never has two users at once; interrupt needs no
// mutex. https://www.sqlite.org/threadsafe.html (multi-thread mode)
func takeMutex(tls *libc.TLS, db uintptr) (uintptr, error) {
	at := &(*sqlite3.Tsqlite3)(pointer(db)).Fmutex
	mutex := *at
	if mutex == 0 || mutex != sqlite3.Xsqlite3_db_mutex(tls, db) {
		return 0, errors.New("the connection's mutex is not where it was expected")
	}
	*at = 0
	return mutex, nil
}

// InTransaction reports whether a transaction stands. https://www.sqlite.org/c3ref/get_autocommit.html
func (c *Conn) InTransaction() bool {
	return sqlite3.Xsqlite3_get_autocommit(c.tls, c.db) == 0
}

// systemErrno: https://www.sqlite.org/c3ref/system_errno.html
func (c *Conn) systemErrno() int { return int(sqlite3.Xsqlite3_system_errno(c.tls, c.db)) }

// LastInsert returns the rowid of the last INSERT. https://www.sqlite.org/c3ref/last_insert_rowid.html
func (c *Conn) LastInsert() int64 { return sqlite3.Xsqlite3_last_insert_rowid(c.tls, c.db) }

// Interrupt ends the statement that runs now, if any. Interrupt alone may be called from
// another goroutine than the connection's. https://www.sqlite.org/c3ref/interrupt.html
func (c *Conn) Interrupt() {
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_interrupt(tls, c.db)
}
