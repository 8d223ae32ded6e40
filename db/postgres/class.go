package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
	"inturn/db/internal/commit"
)

// groupError ends a group's transaction. of is the operation that did it, where it is known.
type groupError struct {
	is commit.Error
	of *op
}

func (e *groupError) Error() string { return e.is.Error() }
func (e *groupError) Unwrap() error { return e.is.Err }

func failure(class commit.Class, of *op, err error) error {
	return &groupError{commit.Error{Class: class, Err: err}, of}
}

// conflict reports whether err comes from another transaction: the same one may succeed when
// it is run again.
func conflict(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pe.Code == "40001" || pe.Code == "40P01" || pe.Code == "55P03") // serialization_failure, deadlock_detected, lock_not_available
}

// classify sorts an error of a statement.
func classify(err error) commit.Class {
	if errors.Is(err, db.ErrFenced) {
		return commit.Fenced
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return commit.IO
	}
	switch pe.Code {
	case "53100": // disk_full
		return commit.Full
	case "XX001", "XX002": // data_corrupted, index_corrupted
		return commit.Corrupt
	case "57P01", "57P02", "57P03", "57P05", "25006", "25P03": // the server ends, or is read-only now
		return commit.IO
	}
	if pe.Severity == "FATAL" || pe.Severity == "PANIC" || pe.Code[:2] == "08" || pe.Code[:2] == "58" {
		return commit.IO
	}
	return commit.Own
}
