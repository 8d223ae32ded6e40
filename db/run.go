package db

import (
	"strings"
	"time"
)

// ReplayOffset is added to the number that a replayed event draws: its turn is so
// before those of all others of its account, and grows from one replay to the next.
const ReplayOffset = -1 << 62

// Settlement ends one run of an event.
type Settlement struct {
	Event     Event  // ClientID, MessageID, Turn, Seq, Run, Attempt and Type are used
	Status    State  // Done or Dead
	Effect    Effect // for Done; nil writes nothing
	Error     string // for Dead: the reason
	StartedAt time.Time
	Held      bool // the account's retry columns are set and must be cleared
	// PerAccount: Effect reads and writes rows of its own account only, so that a storage
	// may run it beside those of other accounts (functions.PerAccount).
	PerAccount bool
}

// Hold keeps an event at the head of its account after an attempt that did not
// settle it, or before one that might end the process.
type Hold struct {
	Event    Event // ClientID, MessageID, Type, Turn, Seq and Run are used
	Attempts int   // begun so far
	NextAt   time.Time
	Park     bool // wait for a person instead of NextAt
	Ahead    bool // written before an attempt, as which it counts should the process end in it
	Failed   bool // attempt number Attempts has failed with Error, which is kept: see MaxErrors
	Error    string
}

// Backlog is one account as recovery finds it: one that has pending events, or that
// an operator paused or replays.
type Backlog struct {
	ClientID     string
	Events       int
	HeadPosition int64 // of the first event
	HeadSeq      int64 // of the held head, 0 if nothing is held
	Attempts     int
	NextAt       time.Time
	Parked       bool
	Paused       bool
	Replaying    bool // see ExpandReplay
}

// Change is what an operator's act, or a Hold, left of an account; or, if ClientID
// is empty, of a type. What stands in it is what the file says after that commit.
type Change struct {
	ClientID string
	Type     string // "" with an empty ClientID: everything
	Paused   bool
	Position int64 // what is accepted or ordered from now on has this one or a greater one

	// Of an account only.
	Parked    bool
	Attempts  int // of the head
	NextAt    time.Time
	Replaying bool // a replay waits for ExpandReplay
	Reread    bool // other events are pending than were handed over: they must be read again
}

// MaxReason bounds the texts of errors that a storage keeps, in bytes.
const MaxReason = 4096

// Bounded returns s as a storage keeps it: valid UTF-8, at most MaxReason bytes of it.
func Bounded(s string) string {
	if len(s) > MaxReason {
		s = s[:MaxReason]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
