package db

import (
	"encoding/json"
	"time"
)

// Account is an account as it is in the file.
type Account struct {
	ClientID  string
	Pending   int   // events
	Scheduled int   // events whose time has not come
	HeadSeq   int64 // of the next event to run, 0 if there is none
	Parked    bool
	Attempts  int // of the head that were begun and not settled
	NextAt    time.Time
	LastError string
	Paused    bool
	// The range of seqs that a Replay has still to go through, 0 for none. What was
	// finished of it runs again before the account goes on.
	ReplayNext, ReplayTo int64
}

// AccountFilter selects accounts. Zero fields select everything.
type AccountFilter struct {
	After  string // only those with a greater client_id (by bytes)
	Paused bool   // only those that an operator paused
	Parked bool   // only those that wait for a person
	Sort   AccountSort
	Limit  int // 1 to 1000
}

// AccountSort is an order of accounts.
type AccountSort string

// The orders of accounts. All but ByClientID have only accounts with pending events, and are
// read from the beginning: After is not for those.
const (
	ByClientID AccountSort = ""
	ByPending  AccountSort = "pending" // the most pending events first
	ByOldest   AccountSort = "oldest"  // the oldest pending event first
)

// AuditFilter selects rows of audit. Zero fields select everything.
type AuditFilter struct {
	ClientID string
	Verb     Verb
	Before   int64 // only rows with a smaller id
	Limit    int   // 1 to 1000
}

// AuditEntry is a row of audit: what an operator did.
type AuditEntry struct {
	ID      int64
	At      time.Time
	Command Command
	Bulk    int64           // of a bulk act, and of all that it did: the id of its own row
	Answer  json.RawMessage // a JSON object, of what was answered then
}

// DeadFilter selects events that were set aside. Zero fields select everything.
type DeadFilter struct {
	Type     string
	ClientID string
	Since    time.Time // only what ended at this time or later
	After    int64     // only events with a greater seq
	Limit    int       // 1 to 1000
	MaxBytes int       // as Filter's
}

// PausedType is a Pause of one type, or of everything.
type PausedType struct {
	Type   string // "" for everything
	Since  time.Time
	Who    string
	Reason string
}
