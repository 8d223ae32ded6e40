package schedule

import "inturn/db"

// MaxOvercommitted is how many lanes may hold an event beyond Limits.Memory, so that work
// goes on whatever holds the memory.
const MaxOvercommitted = 64

const (
	maxLaneEvents = 256 // of one lane; with more it becomes cold
	maxLaneBytes  = 1 << 20
	maxLoadEvents = 64 // of a cold lane, at once
	maxLoadBytes  = 64 << 10
	eventOverhead = 256 // bytes of an event beside its texts, about
)

func size(ev *db.Event) int {
	return eventOverhead + len(ev.ClientID) + len(ev.MessageID) + len(ev.Type) + len(ev.Payload) + len(ev.Attrs) + len(ev.RequestID)
}

// memory is what the lanes' events take.
type memory struct {
	limit         int
	running       int // Limits.Running
	bytes         int // of all lanes' events, and of loads in progress
	overcommitted int // lanes that hold an event beyond limit
	starving      fifo
}

// load is a read of the store that is in progress.
type load struct {
	bytes  int    // set aside for it, so that loads at the same time don't take the same room
	missed uint64 // lane.missed when it began
}

// room is how many more bytes l may hold. Half of the memory goes to the lanes that come
// first. The other half is for lanes that run or will run, in equal shares: neither deep
// lanes nor those that wait for something take it from the others.
func (m *memory) room(l *lane) int {
	half := m.limit / 2
	room := min(maxLaneBytes-l.bytes, half-m.bytes)
	if !l.waitsInMemory() {
		room = max(room, min(half/m.running-l.bytes, m.limit-m.bytes))
	}
	return max(room, 0)
}

// fits reports whether a hot lane may hold one more event of so many bytes.
func (m *memory) fits(l *lane, bytes int) bool {
	if len(l.queue) == 0 && !l.waitsInMemory() { // what runs next is worth more than a fair share
		return m.bytes+bytes <= m.limit
	}
	return len(l.queue) < maxLaneEvents && bytes <= m.room(l)
}

// append puts ev at the end of l's queue.
func (m *memory) append(l *lane, ev *db.Event) {
	n := size(ev)
	l.queue = append(l.queue, *ev)
	l.tail = ev.Position
	l.bytes += n
	m.bytes += n
}

// pop removes the first n events of l's queue.
func (m *memory) pop(l *lane, n int) {
	for i := range l.queue[:n] {
		b := size(&l.queue[i])
		l.bytes -= b
		m.bytes -= b
		l.queue[i] = db.Event{} // lets go of the payload
	}
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
		m.endOvercommit(l)
	}
}

// popSettled removes the events up to a position, which are settled. They may have been
// evicted meanwhile.
func (m *memory) popSettled(l *lane, position int64) {
	n := 0
	for n < len(l.queue) && l.queue[n].Position <= position {
		n++
	}
	m.pop(l, n)
	l.tail = max(l.tail, position)
}

// evict makes l cold: what it has in memory is loaded again when it is needed, so that
// an account that waits long costs no memory.
func (m *memory) evict(l *lane) {
	m.endLoad(l)
	if len(l.queue) > 0 {
		l.tail = l.queue[0].Position - 1
	}
	m.pop(l, len(l.queue))
	l.hot = false
	l.missed++
}

// evictIfScarce evicts a lane that will wait, if others can run with this memory.
func (m *memory) evictIfScarce(l *lane) {
	if m.bytes > m.limit/2 {
		m.evict(l)
	}
}

// mayLoad reports whether a cold lane may take events into memory.
func (m *memory) mayLoad() bool { return m.bytes < m.limit || m.overcommitted < MaxOvercommitted }

// beginLoad sets room aside for a load, and says what to ask the store for.
func (m *memory) beginLoad(l *lane) Request {
	bytes := min(m.room(l), maxLoadBytes)
	if m.bytes >= m.limit {
		l.overcommitted = true
		m.overcommitted++
	}
	m.bytes += bytes
	l.load = load{bytes: bytes, missed: l.missed}
	return Request{After: l.tail, Events: min(maxLoadEvents, 1+bytes/eventOverhead), Bytes: max(bytes, 1)}
}

// endLoad gives back what was set aside, if a load is in progress.
func (m *memory) endLoad(l *lane) {
	m.bytes -= l.load.bytes
	l.load = load{}
}

// loaded takes what the store returned, as far as there is room; the first event always.
// The lane becomes hot if that is all, and nothing was published since the load began.
func (m *memory) loaded(l *lane, events []db.Event, more bool) {
	room, missed := l.load.bytes, l.load.missed
	m.endLoad(l)
	for i := range events {
		if room -= size(&events[i]); room < 0 && i > 0 {
			more = true
			break
		}
		m.append(l, &events[i])
	}
	if len(l.queue) == 0 {
		m.endOvercommit(l)
	}
	l.hot = !more && l.missed == missed
}

func (m *memory) endOvercommit(l *lane) {
	if l.overcommitted {
		l.overcommitted = false
		m.overcommitted--
	}
}
