package sqlite

import (
	"errors"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

// class says whose fault an error inside a group is, and so what happens to the
// group. The rules stand in committer.run.
type class int

const (
	classOwn            class = iota // the operation's own: its neighbours are not concerned
	classBusy                        // another connection writes
	classFull                        // no space, or none of our quota
	classIO                          // the disk fails
	classCorrupt                     // the file is damaged
	classFenced                      // another process owns the file, or it is not at its place
	classTxAborted                   // the operation has ended the whole transaction
	classWithSavepoints              // something failed in a group without savepoints
)

// groupError ends the execution of a group.
type groupError struct {
	class class
	err   error
}

func (e *groupError) Error() string { return e.err.Error() }
func (e *groupError) Unwrap() error { return e.err }

// classify sorts an error of a statement of c.
func classify(c *conn.Conn, err error) class {
	if errors.Is(err, db.ErrFenced) {
		return classFenced
	}
	switch c.KindOf(err) {
	case conn.Busy:
		return classBusy
	case conn.Full:
		return classFull
	case conn.IO:
		return classIO
	case conn.Corrupt, conn.NotADB:
		return classCorrupt
	}
	return classOwn
}
