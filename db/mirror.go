package db

// mirror is what the committer remembers of the file so as not to ask it: the
// counters, each account's backlog, and which accounts have a row. It follows
// the transaction: what is changed after mark is undone by restore.
//
// Only the committer's goroutine touches it.
type mirror struct {
	nextSeq     int64
	nextSettled int64
	pending     int            // events of all accounts
	total       int            // runnable events: pending ones of accounts that are not parked
	backlog     map[string]int // pending events of an account
	parked      map[string]struct{}
	known       map[string]struct{}
	published   []Event  // new events of this transaction, in order
	settled     []int64  // seqs settled by this transaction
	dead        []string // types of those of them that were set aside
	undo        []undo
}

type undo struct {
	clientID string
	delta    int  // to be taken back from the backlog
	known    bool // to be forgotten
	parked   bool // was parked or unparked
}

// maxKnown bounds the memory of accounts that have a row; forgetting costs only a
// statement that changes nothing.
const maxKnown = 1 << 17

type mark struct {
	nextSeq, nextSettled     int64
	published, settled, undo int
	dead                     int
}

func (m *mirror) mark() mark {
	return mark{m.nextSeq, m.nextSettled, len(m.published), len(m.settled), len(m.undo), len(m.dead)}
}

func (m *mirror) restore(k mark) {
	for i := len(m.undo) - 1; i >= k.undo; i-- {
		u := m.undo[i]
		if u.known {
			delete(m.known, u.clientID)
		}
		if u.parked {
			m.turnParked(u.clientID)
		}
		m.addBacklog(u.clientID, -u.delta)
	}
	m.undo = m.undo[:k.undo]
	m.published = m.published[:k.published]
	m.settled, m.dead = m.settled[:k.settled], m.dead[:k.dead]
	m.nextSeq, m.nextSettled = k.nextSeq, k.nextSettled
}

// begin forgets the last transaction's lists.
func (m *mirror) begin() {
	clear(m.published) // so that payloads are not kept alive
	m.published, m.settled, m.undo, m.dead = m.published[:0], m.settled[:0], m.undo[:0], m.dead[:0]
	if len(m.known) > maxKnown {
		clear(m.known)
	}
}

func (m *mirror) pend(clientID string, delta int) {
	m.undo = append(m.undo, undo{clientID: clientID, delta: delta})
	m.addBacklog(clientID, delta)
}

func (m *mirror) know(clientID string) {
	m.undo = append(m.undo, undo{clientID: clientID, known: true})
	m.known[clientID] = struct{}{}
}

// park notes whether the account waits for a person. Its events then count against
// its own bound alone: they can't be worked off, and must not close the door to others.
func (m *mirror) park(clientID string, parked bool) {
	if _, is := m.parked[clientID]; is != parked {
		m.undo = append(m.undo, undo{clientID: clientID, parked: true})
		m.turnParked(clientID)
	}
}

func (m *mirror) turnParked(clientID string) {
	if _, is := m.parked[clientID]; is {
		delete(m.parked, clientID)
		m.total += m.backlog[clientID]
	} else {
		m.parked[clientID] = struct{}{}
		m.total -= m.backlog[clientID]
	}
}

func (m *mirror) addBacklog(clientID string, delta int) {
	if delta == 0 {
		return
	}
	m.pending += delta
	if _, parked := m.parked[clientID]; !parked {
		m.total += delta
	}
	if n := m.backlog[clientID] + delta; n == 0 {
		delete(m.backlog, clientID)
	} else {
		m.backlog[clientID] = n
	}
}
