package sqlite

import (
	"errors"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"

	"inturn/db"
)

// class says whose fault an error inside a group is, and so what happens to the
// group. The rules stand in committer.run.
type class int

const (
	classOwn       class = iota // the operation's own: its neighbours are not concerned
	classBusy                   // another connection writes
	classFull                   // no space, or none of our quota
	classIO                     // the disk fails
	classCorrupt                // the file is damaged
	classFenced                 // another process owns the file, or it is not at its place
	classGone                   // the operation has ended the whole transaction
	classCarefully              // something failed in a group without savepoints
)

// groupError ends the execution of a group.
type groupError struct {
	class class
	err   error
}

func (e *groupError) Error() string { return e.err.Error() }
func (e *groupError) Unwrap() error { return e.err }

// classify sorts an error of a statement by its result code.
// https://www.sqlite.org/rescode.html
func (h *handle) classify(err error) class {
	if errors.Is(err, db.ErrFenced) {
		return classFenced
	}
	c := code(err)
	switch c {
	case sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC:
		return classIO // also for want of space: what was written may survive or not
	}
	switch c & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return classBusy
	case sqlite3.SQLITE_FULL:
		return classFull
	case sqlite3.SQLITE_IOERR:
		// Only ENOSPC of a plain write becomes SQLITE_FULL.
		switch syscall.Errno(h.systemErrno()) {
		case syscall.ENOSPC, syscall.EDQUOT:
			return classFull
		}
		return classIO
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL:
		return classIO
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return classCorrupt
	}
	return classOwn
}
