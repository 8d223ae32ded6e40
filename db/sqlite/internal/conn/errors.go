package conn

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"inturn/db"
)

// Kind says what SQLite's error is about.
type Kind int

// The kinds of errors.
const (
	Other      Kind = iota // the statement's own, or no error of SQLite's
	Busy                   // another connection has a lock
	Full                   // no space, or none of the user's quota
	IO                     // the disk fails
	Corrupt                // the file is damaged
	NotADB                 // the file is no database
	Constraint             // a row, or a deferred reference at COMMIT, is refused
	Virtual                // what a virtual table keeps is not sound, as an FTS5 index; the file is
)

// KindOf sorts an error by its result code. https://www.sqlite.org/rescode.html
func KindOf(err error) Kind {
	at := code(err)
	if at == sqlite3.SQLITE_CORRUPT_VTAB {
		return Virtual
	}
	switch at & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return Busy
	case sqlite3.SQLITE_FULL:
		return Full
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL:
		return IO
	case sqlite3.SQLITE_CORRUPT:
		return Corrupt
	case sqlite3.SQLITE_NOTADB:
		return NotADB
	case sqlite3.SQLITE_CONSTRAINT:
		return Constraint
	}
	return Other
}

// KindOf sorts the error of the connection's last statement. It tells a full disk from
// one that fails, also where SQLite doesn't: only ENOSPC of a plain write is its Full.
func (c *Conn) KindOf(err error) Kind {
	kind := KindOf(err)
	switch at := code(err); {
	case at == sqlite3.SQLITE_IOERR_FSYNC, at == sqlite3.SQLITE_IOERR_DIR_FSYNC:
		return IO // also for want of space: what was written may survive or not
	case at&0xff == sqlite3.SQLITE_IOERR:
		switch syscall.Errno(c.systemErrno()) {
		case syscall.ENOSPC, syscall.EDQUOT:
			return Full
		}
	}
	return kind
}

// code returns the extended result code of SQLite's error, 0 if it is none. (A
// function's own error may have a Code that means something else.)
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// HintCorrupt wraps db.ErrCorrupt around an error that says so.
func HintCorrupt(err error) error {
	if kind := KindOf(err); kind == Corrupt || kind == NotADB {
		return fmt.Errorf("%w: %w", db.ErrCorrupt, err)
	}
	return err
}
