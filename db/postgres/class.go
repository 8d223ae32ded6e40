package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
)

// class says whose fault an error in a group's transaction is, and so what becomes of the
// group. The rules stand at committer.commit.
type class int

const (
	classOwn     class = iota // of one operation, if it is known which; else of some operation
	classAgain                // a deadlock, or a conflict with another transaction
	classFull                 // the server has no room
	classLost                 // the connection has broken, before COMMIT was sent
	classUnknown              // and after
	classFenced               // another process owns the writer's slots
	classCorrupt              // the server finds its data damaged
)

// groupError ends a group's transaction. ops are the operations that did it, where they are
// known.
type groupError struct {
	class class
	ops   []operation
	err   error
}

func (e *groupError) Error() string { return e.err.Error() }
func (e *groupError) Unwrap() error { return e.err }

// classify sorts an error of a statement.
func classify(err error) class {
	if errors.Is(err, db.ErrFenced) {
		return classFenced
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return classLost
	}
	switch pe.Code {
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return classAgain
	case "53100": // disk_full
		return classFull
	case "XX001", "XX002": // data_corrupted, index_corrupted
		return classCorrupt
	case "57P01", "57P02", "57P03", "57P05", "25006", "25P03": // the server ends, or is read-only now
		return classLost
	}
	if pe.Severity == "FATAL" || pe.Severity == "PANIC" || pe.Code[:2] == "08" || pe.Code[:2] == "58" {
		return classLost
	}
	return classOwn
}
