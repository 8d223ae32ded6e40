package postgres

import (
	"hash/fnv"
	"maps"

	"inturn/db"
)

// slotCount is how many slots there are. It never changes: an account's slot is stored.
const slotCount = 1024

// slotOf returns the slot of an account: the low 10 bits of FNV-1a of its id.
func slotOf(clientID string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(clientID))
	return int32(h.Sum32() % slotCount)
}

// rest says why an account runs nothing. Its events then count against its own bound alone.
type rest uint8

const (
	restParked rest = 1 << iota // waits for a person
	restPaused                  // was paused by one
)

// memory is what the writer remembers of the database so as not to ask it. It changes with
// commits only: see delta. Only the committer's goroutine touches it.
type memory struct {
	pending  int            // events of all accounts
	runnable int            // those of accounts that don't rest
	backlog  map[string]int // pending events of an account
	resting  map[string]rest
	known    map[string]struct{} // accounts that have a row
	filed    [slotCount]int64
}

// maxKnown bounds the memory of accounts that have a row.
const maxKnown = 1 << 17

// settled is how a run ended. Of an event that was deleted it has only the seq.
type settled struct {
	seq, run, turn, settled int64
	status                  string
	attempts                int64
	started, finished       int64
	output, reason          *string
}

// delta is what a transaction changes of memory, and what is announced after its commit. A
// transaction that is rolled back leaves none.
type delta struct {
	of        *memory
	backlog   map[string]int
	rests     map[string]rest // what they are afterwards
	runnable  int             // by how much it grows
	known     map[string]struct{}
	filed     int64 // of all slots; 0: as it was
	published []db.Event
	settled   []settled
	dead      []string // types of the events that were set aside
	changes   []db.Change
	notices   []db.Notice // but for those of published
}

func (m *memory) begin() *delta { return &delta{of: m} }

// pend notes that an account has n more pending events.
func (d *delta) pend(clientID string, n int) {
	if d.backlog == nil {
		d.backlog = map[string]int{}
	}
	d.backlog[clientID] += n
	if d.restOf(clientID) == 0 {
		d.runnable += n
	}
}

func (d *delta) pendingOf(clientID string) int { return d.of.backlog[clientID] + d.backlog[clientID] }

func (d *delta) restOf(clientID string) rest {
	if r, ok := d.rests[clientID]; ok {
		return r
	}
	return d.of.resting[clientID]
}

// rest notes that the account rests for this reason, or no longer does.
func (d *delta) rest(clientID string, why rest, on bool) {
	was := d.restOf(clientID)
	is := was &^ why
	if on {
		is |= why
	}
	if is == was {
		return
	}
	switch n := d.pendingOf(clientID); {
	case was == 0:
		d.runnable -= n
	case is == 0:
		d.runnable += n
	}
	if d.rests == nil {
		d.rests = map[string]rest{}
	}
	d.rests[clientID] = is
}

func (d *delta) isKnown(clientID string) bool {
	if _, ok := d.of.known[clientID]; ok {
		return true
	}
	_, ok := d.known[clientID]
	return ok
}

func (d *delta) know(clientID string) {
	if d.known == nil {
		d.known = map[string]struct{}{}
	}
	d.known[clientID] = struct{}{}
}

// filedOf returns up to which seq an account's pending events are in lanes.
func (d *delta) filedOf(clientID string) int64 { return d.of.filed[slotOf(clientID)] }

// commit makes the changes those of memory.
func (d *delta) commit() {
	m := d.of
	for clientID, n := range d.backlog {
		m.pending += n
		if n += m.backlog[clientID]; n == 0 {
			delete(m.backlog, clientID)
		} else {
			m.backlog[clientID] = n
		}
	}
	m.runnable += d.runnable
	for clientID, r := range d.rests {
		if r == 0 {
			delete(m.resting, clientID)
		} else {
			m.resting[clientID] = r
		}
	}
	if len(m.known) > maxKnown {
		clear(m.known)
	}
	maps.Copy(m.known, d.known)
	if d.filed > 0 {
		for i := range m.filed {
			m.filed[i] = d.filed
		}
	}
}
