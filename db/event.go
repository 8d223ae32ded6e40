package db

import (
	"encoding/json"
	"time"
)

// Event is what a client sends and what a function gets. ClientID and MessageID
// are its identity, Type names its function, Payload is JSON.
//
// The first block is filled in by the caller of Append; the second by the engine when the
// event is accepted, and is empty before; the third while the event runs.
type Event struct {
	ClientID  string // the account, 1 to 256 bytes
	MessageID string // unique within the account, 1 to 256 bytes
	Type      string
	Payload   json.RawMessage // compact JSON
	RequestID string          // of the request that brought it
	Attrs     json.RawMessage // JSON object of what else came with it, or nil
	// DeliverAt is the time before which it does not get its place in its account's order,
	// to the microsecond. Zero, and a time that has passed: at once.
	DeliverAt time.Time

	Seq        int64     // place in the outbox, from 1, never reused
	ReceivedAt time.Time // when it was accepted, to the microsecond

	Position int64 // place in the account's order, 0 for none yet; see ReplayOffset
	Run      int64 // 1, or more when a person asked for another run
	Attempt  int   // 1 for the first attempt of this run
}

// MaxDelay is how far ahead DeliverAt may be.
const MaxDelay = 366 * 24 * time.Hour

// MaxErrors is how many errors of attempts are kept of an event, the last ones.
const MaxErrors = 20

// AttemptError is an attempt that failed.
type AttemptError struct {
	Run     int64
	Attempt int // of this run
	At      time.Time
	Error   string // as Bounded has it
}

// State is where an event is.
type State string

// The states of an event. Only Done and Dead are final.
const (
	Scheduled State = "scheduled" // its time has not come: it has no place in its account's order
	Pending   State = "pending"
	Done      State = "done"
	Dead      State = "dead" // set aside
)

// Receipt is the answer to an append: the event is committed and fsynced.
type Receipt struct {
	ClientID  string
	MessageID string
	Seq       int64
	Duplicate bool // this identity was accepted before; Seq, State and Result are the first one's
	State     State
	Result    *Result // nil while State is Scheduled or Pending
}

// Result is how an event ended.
type Result struct {
	Status     State // Done or Dead
	Run        int64
	Attempts   int
	StartedAt  time.Time
	FinishedAt time.Time
	Output     json.RawMessage // what the effect returned, or nil
	Error      string          // why it is dead
}

// StoredEvent is an event with its state, as it is in the file.
type StoredEvent struct {
	Event
	State  State
	Result *Result // nil while State is Scheduled or Pending
}

// Filter selects events for DB.Events. Zero fields select everything.
type Filter struct {
	ClientID  string
	Type      string
	State     State
	RequestID string    // of the request that brought the event
	Since     time.Time // only events that were accepted at this time or later
	Until     time.Time // only events that were accepted before this time
	Newest    bool      // the newest first: in descending order of seq
	After     int64     // only events with a greater seq; with Newest, with a smaller one
	Limit     int       // 1 to 1000
	MaxBytes  int       // the list ends with the event by which all have this Size, 0: with Limit
}

// Size returns about how many bytes e takes: those of its texts and of its result's.
func (e *StoredEvent) Size() int {
	n := len(e.ClientID) + len(e.MessageID) + len(e.Type) + len(e.Payload) + len(e.RequestID) + len(e.Attrs)
	if e.Result != nil {
		n += e.Result.Size()
	}
	return n
}

// Size returns about how many bytes r takes: those of its texts.
func (r *Result) Size() int { return len(r.Output) + len(r.Error) }
