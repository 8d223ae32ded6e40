package schedule

import (
	"time"

	"inturn/db"
)

// State is what a lane does or waits for.
type State uint8

// The states of a lane.
const (
	Ready    State = iota // to be leased
	Running               // leased
	Waiting               // for a slot of its head's type
	Delayed               // until a time
	Starving              // for memory
	Parked                // for a person
	Paused                // by a person: the account, or the type of its head
	Missing               // for a function: its head's type has none
	Left                  // until a restart
	states                // how many there are
)

// Idle is the state of an account that has no lane.
const Idle = states

// lane is one account that has pending events.
type lane struct {
	clientID string

	queue  []db.Event // its first pending events, by position
	bytes  int        // of queue
	missed uint64     // events that went to the store only
	tail   int64      // greatest position that is settled, or in memory, or was; see memory.evict
	head   int64      // age of the first pending event; while cold, not more than that
	load   load       // in progress

	attempts   int        // of the head, that were begun and not settled
	retryAt    time.Time  // while delayed
	lastChange retry      // what the newest commit says of the account
	waitsFor   *eventType // while paused or missing: the head's type; nil for the account
	slot       *eventType // whose slot it has
	at         int        // index in Schedule.delays, or in waitsFor.lanes
	agesAt     int        // index in census.free or census.blocked, from 1; 0: in neither
	slotAs     standing   // as which it got the slot

	since   time.Time // begin of the lease
	ran     int       // events settled in this lease
	singly  int       // so many events are given out one by one
	begun   int64     // seq of the head that was given out and is not settled; 0: none
	suspect int64     // position of an event whose call ended its goroutine; 0: none

	state         State
	hot           bool // queue is all of its pending events
	overcommitted bool // holds an event beyond Limits.Memory
	stuck         bool // see Overdue
	retries       bool // counts in Schedule.retrying
	blocked       bool // is in census.blocked
	headReplays   bool // the first pending event is one that runs again

	stored    bool // the store has attempts of the head
	record    bool // the next attempt is to be recorded before it begins
	recorded  bool // the attempt that runs was: the store has one more than attempts
	forgotten bool // a person reset the attempts while the head ran
	paused    bool // the account, by a person
	replaying bool // a replay goes before what is in memory
	outdated  bool // what is in memory must be loaded again
}

// waitsInMemory reports whether l may keep what it has in memory though it can't run
// now.
func (l *lane) waitsInMemory() bool { return l.state == Waiting || l.state == Delayed }
