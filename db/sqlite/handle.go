package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// handle reaches three functions of SQLite that the driver keeps to itself and
// that the committer's rules rest on: whether the transaction still stands, the
// system's error number, and the interruption of a running statement. (The
// driver's own way to interrupt, a context, costs a goroutine for every statement.)
//
// It also runs the statements of every event itself, see stmt.
type handle struct {
	db  uintptr // *sqlite3
	tls *libc.TLS

	use sync.Mutex // held while an effect uses the connection: it may have goroutines

	mutex   uintptr // SQLite's for the connection, while alone has taken it out
	texts   []byte  // C's memory, at textsAt: the texts of the statement that runs
	textsAt uintptr
}

// newHandle fails if the driver has changed its shape; the pinned version has it.
func newHandle(conn *sql.Conn) (*handle, error) {
	h := &handle{}
	err := conn.Raw(func(dc any) (err error) {
		h.db, err = connection(dc)
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := driverError(0, ""); err != nil {
		return nil, err
	}
	h.tls = libc.NewTLS()
	return h, nil
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

// alone takes out the mutex of a connection, see takeMutex, until close.
func (h *handle) alone() (err error) {
	h.mutex, err = takeMutex(h.tls, h.db)
	return err
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

func (h *handle) close() {
	if h.mutex != 0 { // so that it is freed with the connection
		(*sqlite3.Tsqlite3)(pointer(h.db)).Fmutex = h.mutex
	}
	h.forgetTexts()
	h.tls.Close()
}

// inTransaction: https://www.sqlite.org/c3ref/get_autocommit.html
func (h *handle) inTransaction() bool {
	return sqlite3.Xsqlite3_get_autocommit(h.tls, h.db) == 0
}

// systemErrno: https://www.sqlite.org/c3ref/system_errno.html
func (h *handle) systemErrno() int { return int(sqlite3.Xsqlite3_system_errno(h.tls, h.db)) }

// lastInsert: https://www.sqlite.org/c3ref/last_insert_rowid.html
func (h *handle) lastInsert() int64 { return sqlite3.Xsqlite3_last_insert_rowid(h.tls, h.db) }

// interrupt ends the statement that runs now, if any. It is the one function here
// that may be called from another goroutine than the connection's.
// https://www.sqlite.org/c3ref/interrupt.html
func (h *handle) interrupt() {
	tls := libc.NewTLS()
	defer tls.Close()
	sqlite3.Xsqlite3_interrupt(tls, h.db)
}

// code returns the extended result code of SQLite's error, 0 if it is none. (A
// function's own error may have a Code that means something else.)
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}
