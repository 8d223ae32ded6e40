package sqlite

import (
	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// writerState is what the committer remembers of the file so as not to ask it: the
// counters, each account's backlog, which accounts have a row, and what is not flushed
// yet. It follows the transaction: what is changed after savepoint is undone by rollback.
//
// Only the committer's goroutine touches it.
type writerState struct {
	nextSeq     int64
	nextSettled int64
	pending     int            // events of all accounts
	total       int            // runnable events: pending ones of accounts that don't rest
	backlog     map[string]int // pending events of an account
	resting     map[string]rest
	scheduled   int            // scheduled events of all accounts
	scheduledOf map[string]int // of the accounts that were asked for: see roomAhead
	known       map[string]struct{}
	published   []db.Event  // new events of this transaction, and those that are due, in order; without Position: scheduled
	settled     []q.Result  // written by this transaction; of an erased event only the seq
	dead        []string    // types of the settled events that were set aside
	changes     []db.Change // of this transaction, in order
	memtable    *memtable
	notices     notices
	undo        []undo
}

// rest says why an account runs nothing. Its events then count against its own bound
// alone: they can't be worked off, and must not close the door to others.
type rest uint8

const (
	restParked rest = 1 << iota // waits for a person
	restPaused                  // was paused by one
)

type undo struct {
	clientID string
	delta    int  // to be taken back from the backlog
	ahead    int  // to be taken back from what is scheduled
	known    bool // to be forgotten
	rested   bool // rested as was says
	was      rest
	moved    int64 // seq of an event of the memtable, to be put back to from
	from     stage
}

// maxKnown bounds the memory of accounts that have a row; forgetting costs only a
// statement that changes nothing.
const maxKnown = 1 << 17

type savepoint struct {
	nextSeq, nextSettled     int64
	published, settled, undo int
	dead, changes, memtable  int
	notices, pending         int
}

func (m *writerState) savepoint() savepoint {
	return savepoint{m.nextSeq, m.nextSettled, len(m.published), len(m.settled), len(m.undo), len(m.dead), len(m.changes), len(m.memtable.events), len(m.notices.list), m.pending}
}

func (m *writerState) rollback(k savepoint) {
	for i := len(m.undo) - 1; i >= k.undo; i-- {
		u := m.undo[i]
		if u.moved != 0 {
			m.memtable.find(u.moved).stage = u.from
		}
		if u.known {
			delete(m.known, u.clientID)
		}
		if u.rested {
			m.setRest(u.clientID, u.was)
		}
		m.addBacklog(u.clientID, -u.delta)
		m.addScheduled(u.clientID, -u.ahead)
	}
	m.undo = m.undo[:k.undo]
	m.published = m.published[:k.published]
	m.settled, m.dead, m.changes = m.settled[:k.settled], m.dead[:k.dead], m.changes[:k.changes]
	m.memtable.events = m.memtable.events[:k.memtable]
	m.notices.rollback(k.notices)
	m.nextSeq, m.nextSettled = k.nextSeq, k.nextSettled
}

// reset empties the lists of the last transaction.
func (m *writerState) reset() {
	clear(m.published) // so that payloads and outputs are not kept alive
	clear(m.settled)
	m.published, m.settled, m.undo = m.published[:0], m.settled[:0], m.undo[:0]
	m.dead, m.changes = m.dead[:0], m.changes[:0]
	m.notices.reset()
	if len(m.known) > maxKnown {
		clear(m.known)
	}
	if len(m.scheduledOf) > maxKnown {
		clear(m.scheduledOf)
	}
}

func (m *writerState) pend(clientID string, delta int) {
	m.undo = append(m.undo, undo{clientID: clientID, delta: delta})
	m.addBacklog(clientID, delta)
}

// schedule counts scheduled events of an account.
func (m *writerState) schedule(clientID string, delta int) {
	m.undo = append(m.undo, undo{clientID: clientID, ahead: delta})
	m.addScheduled(clientID, delta)
}

func (m *writerState) addScheduled(clientID string, delta int) {
	if delta == 0 {
		return
	}
	m.scheduled += delta
	if n, ok := m.scheduledOf[clientID]; ok {
		m.scheduledOf[clientID] = n + delta
	}
}

func (m *writerState) know(clientID string) {
	m.undo = append(m.undo, undo{clientID: clientID, known: true})
	m.known[clientID] = struct{}{}
}

// rest notes that the account rests for this reason, or no longer does.
func (m *writerState) rest(clientID string, why rest, on bool) {
	was := m.resting[clientID]
	is := was &^ why
	if on {
		is |= why
	}
	if is != was {
		m.undo = append(m.undo, undo{clientID: clientID, rested: true, was: was})
		m.setRest(clientID, is)
	}
}

func (m *writerState) setRest(clientID string, is rest) {
	was := m.resting[clientID]
	switch {
	case was == 0 && is != 0:
		m.total -= m.backlog[clientID]
	case was != 0 && is == 0:
		m.total += m.backlog[clientID]
	}
	if is == 0 {
		delete(m.resting, clientID)
	} else {
		m.resting[clientID] = is
	}
}

func (m *writerState) addBacklog(clientID string, delta int) {
	if delta == 0 {
		return
	}
	m.pending += delta
	if m.resting[clientID] == 0 {
		m.total += delta
	}
	if n := m.backlog[clientID] + delta; n == 0 {
		delete(m.backlog, clientID)
	} else {
		m.backlog[clientID] = n
	}
}
