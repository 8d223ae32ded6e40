package db

import (
	"encoding/json"
	"time"
)

// Event is what a client sends and what a function gets. ClientID and MessageID
// are its identity, Type names its function, Payload is JSON.
//
// Whoever appends fills in the first block; the second is the engine's and is
// empty until the event is accepted; the third is set while the event runs.
type Event struct {
	ClientID  string // the account, 1 to 256 bytes
	MessageID string // unique within the account, 1 to 256 bytes
	Type      string
	Payload   json.RawMessage // compact JSON
	RequestID string          // of the request that brought it
	Attrs     json.RawMessage // JSON object of what else came with it, or nil

	Seq        int64     // place in the outbox, from 1, never reused
	ReceivedAt time.Time // when it was accepted, to the microsecond

	Position int64 // place in the account's order; see ReplayOffset
	Run      int64 // 1, or more when a person asked for another run
	Attempt  int   // 1 for the first attempt of this run
}

// Effect is the second phase of a function: it writes what the function wants
// written, in the transaction that settles the event, and returns the event's
// result (marshalled as JSON, at most MaxOutput bytes; nil for none).
//
// An effect is a pure function of its Tx. It may be called again when a group is
// re-run, but only one call's writes ever commit: so no clock, random numbers,
// I/O or Go state in it. The event has no result yet, and pending may show it or not.
// It runs on the only write connection, where everyone waits for it: over SlowEffect
// it is logged, over MaxEffect it is interrupted and the attempt has failed.
type Effect func(*Tx) (any, error)

// Check validates and completes an event that an effect emits.
type Check func(Event) (Event, error)

// Limits of an effect.
const (
	SlowEffect = 5 * time.Millisecond
	MaxEffect  = time.Second
	MaxOutput  = 256 << 10 // bytes of a result
	MaxEmit    = 1000      // events of one effect
)

// State is where an event is.
type State string

// The states of an event. Only Done and Dead are final.
const (
	Pending State = "pending"
	Done    State = "done"
	Dead    State = "dead" // set aside
)

// Receipt is the answer to an append: the event is committed and fsynced.
type Receipt struct {
	ClientID  string
	MessageID string
	Seq       int64
	Duplicate bool // this identity was accepted before; Seq, State and Result are the first one's
	State     State
	Result    *Result // nil while State is Pending
}

// Result is how an event ended.
type Result struct {
	Status     State // Done or Dead
	Run        int64
	Attempts   int
	StartedAt  time.Time
	FinishedAt time.Time
	Output     json.RawMessage // what the effect returned, or nil
	Omitted    bool            // Output was left out of a batch's answers; Find has it
	Error      string          // why it is dead
}

// StoredEvent is an event with its state, as it is in the file.
type StoredEvent struct {
	Event
	State  State
	Result *Result // nil while State is Pending
}

// Filter selects events for DB.Events. Zero fields select everything.
type Filter struct {
	ClientID string
	State    State
	After    int64 // only events with a greater seq
	Limit    int   // 1 to 1000
}

// Settlement ends one run of an event.
type Settlement struct {
	Event     Event  // ClientID, Turn, Seq, Run, Attempt and Type are used
	Status    State  // Done or Dead
	Effect    Effect // for Done; nil writes nothing
	Error     string // for Dead: the reason
	StartedAt time.Time
	Held      bool // the account's retry columns are set and must be cleared
}

// Hold keeps an event at the head of its account after an attempt that did not
// settle it, or before one that might end the process.
type Hold struct {
	Event    Event // ClientID, Turn, Seq and Run are used
	Attempts int   // begun so far
	NextAt   time.Time
	Park     bool // wait for a person instead of NextAt
	Error    string
}

// Backlog is one account as recovery finds it: one that has pending events, or that
// an operator paused or replays.
type Backlog struct {
	ClientID     string
	Events       int
	HeadPosition int64 // of the first of them
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
