package db

import (
	"errors"
	"fmt"
)

// Errors of the storage. They are compared with errors.Is; the cause, where there
// is one, is wrapped as well.
var (
	// ErrClosed: Close began; nothing is taken any more.
	ErrClosed = errors.New("database is closed")
	// ErrFenced: another process owns the file; this one writes nothing and ends.
	ErrFenced = errors.New("another process owns the database")
	// ErrOverloaded: not executed, because the queue was full or the wait too long.
	ErrOverloaded = errors.New("too many events are waiting to be written")
	// ErrBacklogFull: not executed, because too many events are pending in all.
	ErrBacklogFull = errors.New("the backlog is full")
	// ErrAccountFull: not executed, because too many events of this account are pending.
	ErrAccountFull = errors.New("the backlog of this account is full")
	// ErrStorageFull: not written, because the disk is full or nearly full.
	ErrStorageFull = errors.New("the disk is full")
	// ErrUnavailable: not written, because the storage fails.
	ErrUnavailable = errors.New("the database can't be written")
	// ErrOutcomeUnknown: the commit failed in a way that leaves open whether the
	// write survives. The process ends; the file decides after the restart.
	ErrOutcomeUnknown = errors.New("the write may or may not have survived")
	// ErrCorrupt: the file is damaged.
	ErrCorrupt = errors.New("the database file is damaged")
	// ErrForeign: the file is a database of another program.
	ErrForeign = errors.New("the file is a database of another program")
	// ErrNewer: the file has a version of the schema that this binary doesn't know.
	ErrNewer = errors.New("the file was written by a newer version of inturn")
	// ErrSuperseded: the run is no longer pending; somebody else ended it.
	ErrSuperseded = errors.New("the run was ended by somebody else")
	// ErrEffectTooSlow: an effect ran longer than MaxEffect and was interrupted.
	ErrEffectTooSlow = fmt.Errorf("the effect ran longer than %v", MaxEffect)
	// ErrNotFound: there is no such event.
	ErrNotFound = errors.New("no such event")
)

// LockedError: not executed, because another program holds the database's write lock for
// longer than an operation waits. It is ErrOverloaded, too: the same is to be done.
type LockedError struct {
	Holder string // the program, "" where it is not known
}

func (e *LockedError) Error() string {
	if e.Holder == "" {
		return "another program holds the database's write lock"
	}
	return "another program holds the database's write lock: " + e.Holder
}

// Is reports whether target is ErrOverloaded.
func (e *LockedError) Is(target error) bool { return target == ErrOverloaded }

// IDReusedError says that an identity was used again for something else.
type IDReusedError struct {
	Seq int64 // of the event that has this identity
}

func (e *IDReusedError) Error() string {
	return fmt.Sprintf("this message_id was used for another payload, type or deliver_at (seq %d)", e.Seq)
}

// FieldError says that a storage can't take what is in a field of an event.
type FieldError struct{ Field, Detail string }

func (e *FieldError) Error() string { return e.Field + " " + e.Detail }

// ErrNotAttempted: an earlier event of the same account was refused, and taking
// this one would let it overtake.
var ErrNotAttempted = errors.New("an earlier event of this account was refused")

// ErrErasing: not executed, because the account is being erased; in a moment it may be
// sent again, as the first event of a new account.
var ErrErasing = fmt.Errorf("%w: it is being erased", ErrAccountFull)
