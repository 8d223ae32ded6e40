package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"inturn/db"
)

// model is the world around a schedule, told naively: what the store has of each
// account, and what each leaseholder does. Whatever happens, in whatever order, the
// schedule gives out an account's events in order, to one leaseholder at a time, within
// its bounds, and leaves no account behind that could run.
type model struct {
	s        *Schedule
	limits   Limits
	now      time.Time
	position int64 // the last one that was given out
	accounts map[string]*account
	types    map[string]*typeModel
	halted   bool
	leased   map[string]*holder
}

// account is what the store has.
type account struct {
	id       string
	pending  []db.Event // by position
	replays  int        // events that Expanded makes pending
	paused   bool
	parked   bool
	stored   int // attempts
	nextAt   time.Time
	attempts int       // that count
	delayed  time.Time // not known to the store
	suspects int64     // position of an event whose call ended its goroutine
}

func (a *account) String() string {
	var pending []string
	for _, ev := range a.pending {
		pending = append(pending, fmt.Sprint(ev.Position, " ", ev.Type))
	}
	return fmt.Sprintf("%s: %v pending, %d to replay, paused %t, parked %t, %d attempts (%d stored), until %v and %v, suspects %d",
		a.id, pending, a.replays, a.paused, a.parked, a.attempts, a.stored, a.nextAt.Sub(epoch), a.delayed.Sub(epoch), a.suspects)
}

type typeModel struct {
	known, paused bool
	bound         int
}

func (m *typeModel) blocked() bool { return m.paused || !m.known }

// phase is what a leaseholder does.
type phase int

const (
	peeks phase = iota
	reads
	hasRead
	works
)

// holder is one leaseholder.
type holder struct {
	lease   Lease
	phase   phase
	retries bool // its head failed before
	granted bool // it had waited for a slot, which then is used also by one that retries
	request Request
	events  []db.Event // read, or worked on
	more    bool
	overdue bool
}

const largest = eventOverhead + 2048

func newModel(t *rapid.T) *model {
	m := &model{
		limits: Limits{
			Running: rapid.IntRange(1, 10).Draw(t, "running"),
			Slice:   rapid.IntRange(1, 5).Draw(t, "slice"),
			Memory:  rapid.SampledFrom([]int{1, 2000, 20_000, 1 << 20}).Draw(t, "memory"),
		},
		now: epoch, accounts: map[string]*account{}, leased: map[string]*holder{},
		types: map[string]*typeModel{"free": {known: true}, "slots": {known: true, bound: 2}, "gone": {}},
	}
	m.s = New(m.limits, m.bounds())
	for i := range 10 {
		id := fmt.Sprint("c", i)
		m.accounts[id] = &account{id: id}
	}
	careful := rapid.Bool().Draw(t, "careful")
	for _, a := range m.all() {
		for range rapid.IntRange(0, 4).Draw(t, "stored") {
			a.pending = append(a.pending, m.event(t, a))
		}
		if len(a.pending) > 0 {
			a.attempts = rapid.IntRange(0, 1).Draw(t, "attempts")
			a.stored = a.attempts
		}
		a.paused = rapid.IntRange(0, 5).Draw(t, "paused") == 0
		if b := (db.Backlog{ClientID: a.id, Events: len(a.pending), Attempts: a.stored, Paused: a.paused}); b.Events > 0 || b.Paused {
			if b.Events > 0 {
				b.HeadPosition = a.pending[0].Position
			}
			m.s.Restore(b, careful, m.now)
		}
	}
	return m
}

func (m *model) all() []*account {
	return slices.SortedFunc(maps.Values(m.accounts), func(a, b *account) int { return cmp.Compare(a.id, b.id) })
}

func (m *model) bounds() map[string]int {
	bounds := map[string]int{}
	for name, t := range m.types {
		if t.known {
			bounds[name] = t.bound
		}
	}
	return bounds
}

func (m *model) event(t *rapid.T, a *account) db.Event {
	m.position++
	return db.Event{
		ClientID: a.id, Seq: m.position, Position: m.position, Type: rapid.SampledFrom([]string{"free", "free", "slots", "gone"}).Draw(t, "type"),
		Payload: make([]byte, rapid.SampledFrom([]int{0, 100, 1500}).Draw(t, "payload")),
	}
}

func (m *model) account(t *rapid.T) *account {
	return m.accounts[rapid.SampledFrom(slices.Sorted(maps.Keys(m.accounts))).Draw(t, "account")]
}

// holder draws a leaseholder in a phase; it skips the action if there is none.
func (m *model) holder(t *rapid.T, in phase) (*holder, *account) {
	var ids []string
	for id, h := range m.leased {
		if h.phase == in {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		t.SkipNow()
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(t, "leaseholder")
	return m.leased[id], m.accounts[id]
}

// change hands over what the store has of an account.
func (m *model) change(a *account, reread bool) {
	m.s.Changed([]db.Change{{
		ClientID: a.id, Position: m.position, Paused: a.paused, Parked: a.parked, Attempts: a.stored, NextAt: a.nextAt,
		Replaying: a.replays > 0, Reread: reread,
	}}, m.now)
	switch h := m.leased[a.id]; {
	case h == nil:
		a.attempts, a.delayed = a.stored, time.Time{}
	case a.stored == 0: // by a person
		a.attempts = 0
	}
}

// clear is what the store does once an account's head has gone.
func (a *account) clear() { a.stored, a.attempts, a.parked, a.nextAt = 0, 0, false, time.Time{} }

func (m *model) append(t *rapid.T) {
	var events []db.Event
	for range rapid.IntRange(1, 4).Draw(t, "events") {
		a := m.account(t)
		ev := m.event(t, a)
		a.pending = append(a.pending, ev)
		events = append(events, ev)
	}
	m.s.Appended(events)
}

func (m *model) next(t *rapid.T) {
	lease, ok := m.s.Next(m.now)
	if !ok {
		m.nothingIsLeftBehind(t)
		return
	}
	a := m.accounts[lease.ClientID()]
	switch {
	case m.leased[a.id] != nil:
		t.Fatalf("%s is leased twice", a.id)
	case m.halted || a.paused || a.parked || a.nextAt.After(m.now) || a.delayed.After(m.now):
		t.Fatalf("%s is leased; everything is paused %t, it is %v", a.id, m.halted, a)
	}
	m.leased[a.id] = &holder{lease: lease, retries: a.attempts > 0, granted: lease.l.slot != nil}
	retries := 0
	for _, h := range m.leased {
		if h.retries && !h.granted {
			retries++
		}
	}
	if len(m.leased) > m.limits.Running || retries > max(1, m.limits.Running/retryShare) {
		t.Fatalf("%d leases, %d of accounts that failed; want at most %d and a quarter", len(m.leased), retries, m.limits.Running)
	}
}

// nothingIsLeftBehind wants a reason for each account that has something pending and
// isn't leased.
func (m *model) nothingIsLeftBehind(t *rapid.T) {
	if m.halted || len(m.leased) >= m.limits.Running {
		return
	}
	retries, elsewhere := 0, 0
	working := map[string]int{}
	for _, h := range m.leased {
		if h.retries {
			retries++
		}
		if h.phase == works {
			working[h.events[0].Type]++
		} else {
			elsewhere++ // it may have a slot still, or memory
		}
	}
	for _, a := range m.all() {
		if m.leased[a.id] != nil || len(a.pending) == 0 && a.replays == 0 || a.paused || a.parked || a.nextAt.After(m.now) || a.delayed.After(m.now) {
			continue
		}
		// An account that a person retried stays with those that failed for this turn.
		failed := a.attempts > 0 || slices.Contains(m.s.ready.retries.lanes, m.s.lanes[a.id])
		if failed && retries >= max(1, m.limits.Running/retryShare) {
			continue
		}
		switch state, _ := m.s.State(a.id); {
		case state == Starving && len(m.leased) > 0:
			continue
		case state == Waiting: // for a slot of what was its head; Verify says if one is free
			continue
		}
		if a.replays == 0 || len(a.pending) > 0 && a.pending[0].Position < 0 {
			typ := m.types[a.pending[0].Type]
			share := typ.bound - typ.bound/provenShare
			if failed {
				share = max(1, typ.bound/failingShare)
			}
			if typ.blocked() || typ.bound > 0 && working[a.pending[0].Type]+elsewhere >= share {
				continue
			}
		}
		state, _ := m.s.State(a.id)
		t.Fatalf("nothing is leased, but %s could run: %v, in state %d", a.id, a, state)
	}
}

func (m *model) peek(t *rapid.T) {
	h, a := m.holder(t, peeks)
	step := h.lease.Peek(m.now)
	switch step.Do {
	case Ended:
		m.end(a)
	case Load:
		request, ok := h.lease.Load()
		if !ok {
			m.end(a)
			return
		}
		h.phase, h.request = reads, request
	case Expand:
		m.expand(t, h, a)
	case Run:
		m.begin(t, h, a, step)
	}
}

func (m *model) end(a *account) { delete(m.leased, a.id) }

// expand makes one event of a replay pending.
func (m *model) expand(t *rapid.T, h *holder, a *account) {
	if a.replays == 0 {
		t.Fatalf("%s has no replay", a.id)
	}
	ev := m.event(t, a)
	ev.Position += db.ReplayOffset
	at := slices.IndexFunc(a.pending, func(p db.Event) bool { return p.Position > ev.Position })
	if at < 0 {
		at = len(a.pending)
	}
	a.pending = slices.Insert(a.pending, at, ev)
	a.replays--
	if at == 0 {
		a.clear()
	}
	h.lease.Expanded(a.replays > 0)
	h.retries = h.retries && at > 0
}

func (m *model) begin(t *rapid.T, h *holder, a *account, step Step) {
	n := len(step.Events)
	if n == 0 || n > m.limits.Slice || n > len(a.pending) {
		t.Fatalf("%s: %d events are given out of %d", a.id, n, len(a.pending))
	}
	for i, ev := range step.Events {
		if ev.Position != a.pending[i].Position {
			t.Fatalf("%s: position %d is given out, %d is next", a.id, ev.Position, a.pending[i].Position)
		}
	}
	typ := step.Events[0].Type
	calls := 1
	for _, o := range m.leased {
		if o.phase == works && o.events[0].Type == typ {
			calls++
		}
	}
	switch r := m.types[typ]; {
	case m.halted || a.paused || a.parked || a.replays > 0 && step.Events[0].Position > 0 || r.blocked():
		t.Fatalf("%s is given out; everything is paused %t, it is %v, its type %+v", a.id, m.halted, a, r)
	case r.bound > 0 && calls > r.bound:
		t.Fatalf("%d calls of %s, want at most %d", calls, typ, r.bound)
	case step.Attempts != a.attempts || step.Stored != (a.stored > 0):
		t.Fatalf("%s: %d attempts, stored %t; want %d and %d", a.id, step.Attempts, step.Stored, a.attempts, a.stored)
	case a.suspects != 0 && step.Events[0].Position <= a.suspects && n > 1:
		t.Fatalf("%s: %d events at once, one of which ended its goroutine", a.id, n)
	case step.Exited != (a.suspects == step.Events[0].Position):
		t.Fatalf("%s: position %d exited %t, it was %d", a.id, step.Events[0].Position, step.Exited, a.suspects)
	}
	if step.Events[0].Position >= a.suspects {
		a.suspects = 0
	}
	if step.Record {
		a.stored, a.nextAt = step.Attempts+1, m.now
		m.change(a, false)
		h.lease.Recorded()
	}
	h.phase, h.events = works, slices.Clone(step.Events)
}

// read takes the store's snapshot for a load.
func (m *model) read(t *rapid.T) {
	h, a := m.holder(t, reads)
	h.phase, h.events, h.more = hasRead, nil, false
	bytes := h.request.Bytes
	for _, ev := range a.pending {
		if ev.Position <= h.request.After {
			continue
		}
		if bytes -= size(&ev); len(h.events) == h.request.Events || bytes < 0 && len(h.events) > 0 {
			h.more = true
			break
		}
		h.events = append(h.events, ev)
	}
}

func (m *model) loaded(t *rapid.T) {
	h, a := m.holder(t, hasRead)
	if rapid.IntRange(0, 9).Draw(t, "fails") == 0 {
		m.again(h, a)
		return
	}
	h.lease.Loaded(h.events, h.more)
	h.phase = peeks
}

// again is what a leaseholder does after an error of the store.
func (m *model) again(h *holder, a *account) {
	a.delayed = m.now.Add(time.Second)
	h.lease.Evict()
	h.lease.Delay(a.delayed)
	m.end(a)
}

// settle ends as many of the events that were given out as are still pending.
func (m *model) settle(t *rapid.T) {
	h, a := m.holder(t, works)
	m.returned(h)
	want := rapid.IntRange(1, len(h.events)).Draw(t, "settled")
	n := 0
	for n < want && len(a.pending) > 0 && a.pending[0].Position == h.events[n].Position {
		if n == 0 && h.lease.Attempts().Stored != (a.stored > 0) {
			t.Fatalf("%s: attempts are stored %t, want %d", a.id, !(a.stored > 0), a.stored)
		}
		a.pending = a.pending[1:]
		a.clear()
		n++
	}
	if n > 0 {
		h.lease.Advance(n, h.events[n-1].Position)
	}
	if n < want {
		a.attempts = 0
		h.lease.Superseded()
	}
	h.phase, h.retries = peeks, false
}

// fail has the store hold the head, if it is still pending.
func (m *model) fail(t *rapid.T) {
	h, a := m.holder(t, works)
	m.returned(h)
	if len(a.pending) == 0 || a.pending[0].Position != h.events[0].Position {
		a.attempts = 0
		h.lease.Superseded()
		h.phase, h.retries = peeks, false
		return
	}
	a.stored = h.lease.Attempts().N + 1
	a.attempts = a.stored
	a.parked = rapid.IntRange(0, 3).Draw(t, "parks") == 0
	a.nextAt = time.Time{}
	if !a.parked {
		a.nextAt = m.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "wait")) * time.Second)
	}
	m.change(a, false)
	h.lease.Park(m.now)
	m.end(a)
}

func (m *model) postpone(t *rapid.T) {
	h, a := m.holder(t, works)
	m.returned(h)
	if attempts := h.lease.Attempts(); attempts.Recorded {
		if len(a.pending) == 0 || a.pending[0].Position != h.events[0].Position {
			t.SkipNow()
		}
		a.stored, a.nextAt = attempts.N, time.Time{}
		m.change(a, false)
		h.lease.Unrecorded()
	}
	a.delayed = m.now.Add(time.Second)
	h.lease.Delay(a.delayed)
	m.end(a)
}

func (m *model) exit(t *rapid.T) {
	h, a := m.holder(t, works)
	m.returned(h)
	a.suspects = h.events[rapid.IntRange(0, len(h.events)-1).Draw(t, "exits")].Position
	h.lease.Exited(a.suspects)
	h.phase = peeks
}

func (m *model) overdue(t *rapid.T) {
	h, _ := m.holder(t, works)
	if !h.overdue {
		h.overdue = true
		h.lease.Overdue()
	}
}

func (m *model) returned(h *holder) {
	if h.overdue {
		h.overdue = false
		h.lease.Returned()
	}
}

// act is what a person does.
func (m *model) act(t *rapid.T) {
	a := m.account(t)
	switch rapid.SampledFrom([]string{"pause", "resume", "retry", "skip", "redrive", "replay", "type", "all", "functions"}).Draw(t, "act") {
	case "pause":
		a.paused = true
		m.change(a, false)
	case "resume":
		a.paused = false
		m.change(a, false)
	case "retry":
		a.stored, a.parked, a.nextAt = 0, false, time.Time{}
		m.change(a, false)
	case "skip":
		if len(a.pending) > 0 {
			at := rapid.IntRange(0, len(a.pending)-1).Draw(t, "skipped")
			a.pending = slices.Delete(slices.Clone(a.pending), at, at+1)
			if at == 0 {
				a.stored, a.parked, a.nextAt = 0, false, time.Time{}
			}
			m.change(a, true)
		}
	case "redrive":
		a.pending = append(slices.Clone(a.pending), m.event(t, a))
		m.change(a, true)
	case "replay":
		a.replays += rapid.IntRange(1, 2).Draw(t, "replayed")
		m.change(a, true)
	case "type":
		name := rapid.SampledFrom([]string{"free", "slots", "gone"}).Draw(t, "type")
		m.types[name].paused = !m.types[name].paused
		m.s.Changed([]db.Change{{Type: name, Paused: m.types[name].paused}}, m.now)
	case "all":
		m.halted = !m.halted
		m.s.Changed([]db.Change{{Paused: m.halted}}, m.now)
	case "functions":
		name := rapid.SampledFrom([]string{"free", "slots", "gone"}).Draw(t, "type")
		m.types[name].known = rapid.Bool().Draw(t, "known")
		m.types[name].bound = rapid.SampledFrom([]int{0, 1, 2, 8}).Draw(t, "bound")
		m.s.SetTypes(m.bounds())
	}
}

func (m *model) wait(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond)
}

func (m *model) check(t *rapid.T) {
	if err := m.s.Verify(); err != nil {
		t.Fatal(err)
	}
	for id, a := range m.accounts {
		h := m.leased[id]
		switch {
		case h != nil && h.phase == works:
			if !m.s.Begun(id, h.events[0].Seq) || len(h.events) > 1 && m.s.Begun(id, h.events[1].Seq) {
				t.Fatalf("%s works on seq %d alone", id, h.events[0].Seq)
			}
		case h == nil && len(a.pending) > 0 && m.s.Begun(id, a.pending[0].Seq):
			t.Fatalf("%s is not leased, and seq %d has begun", id, a.pending[0].Seq)
		}
	}
	loads := 0
	for _, h := range m.leased {
		if h.phase == reads || h.phase == hasRead {
			loads++
		}
	}
	s := m.s.Stats()
	if bound := m.limits.Memory + (loads+MaxOvercommitted)*largest; s.Bytes > bound {
		t.Fatalf("%d bytes in memory, want at most %d", s.Bytes, bound)
	}
	if s.Running != len(m.leased) {
		t.Fatalf("%d lanes are leased, want %d", s.Running, len(m.leased))
	}
}

// finish lets everything run, without a failure, and wants all of it to have run.
func (m *model) finish(t *rapid.T) {
	m.halted = false
	m.s.Changed([]db.Change{{}}, m.now)
	for name, typ := range m.types {
		*typ = typeModel{known: true}
		m.s.Changed([]db.Change{{Type: name}}, m.now)
	}
	m.s.SetTypes(m.bounds())
	left := 1
	for _, a := range m.all() {
		a.paused, a.parked, a.stored, a.nextAt = false, false, 0, time.Time{}
		m.change(a, false)
		left += len(a.pending) + a.replays
	}
	for range 20 * left {
		m.now = m.now.Add(time.Second)
		m.next(t)
		for _, id := range slices.Sorted(maps.Keys(m.leased)) {
			m.run(t, m.leased[id], m.accounts[id])
		}
		m.check(t)
	}
	for _, a := range m.all() {
		if len(a.pending) > 0 || a.replays > 0 {
			state, _ := m.s.State(a.id)
			t.Fatalf("%s is left behind in state %d: %v", a.id, state, a)
		}
	}
	if s := m.s.Stats(); s.States != [states]int{} || s.Bytes != 0 || s.Slots != 0 || s.Overcommitted != 0 {
		t.Fatalf("%+v is left, want nothing", s)
	}
}

// run follows one lease to its end.
func (m *model) run(t *rapid.T, h *holder, a *account) {
	m.returned(h)
	if h.phase == works { // as one that postpones does: what it has may be out of date
		a.delayed = m.now
		h.lease.Delay(m.now)
		m.end(a)
		return
	}
	if h.phase == reads || h.phase == hasRead {
		m.again(h, a)
		return
	}
	for m.leased[a.id] != nil {
		switch step := h.lease.Peek(m.now); step.Do {
		case Ended:
			m.end(a)
		case Expand:
			m.expand(t, h, a)
		case Load:
			request, ok := h.lease.Load()
			if !ok {
				m.end(a)
				return
			}
			var events []db.Event
			for _, ev := range a.pending {
				if ev.Position > request.After {
					events = append(events, ev)
				}
			}
			n := min(len(events), request.Events)
			h.lease.Loaded(events[:n], n < len(events))
		case Run:
			m.begin(t, h, a, step)
			a.pending = a.pending[len(step.Events):]
			a.clear()
			h.phase = peeks
			h.lease.Advance(len(step.Events), step.Events[len(step.Events)-1].Position)
		}
	}
}

func TestScheduleAgainstAModel(t *testing.T) {
	rounds := 5 // of rapid's 100 runs
	if os.Getenv("INTURN_LONG") != "" {
		rounds = 200
	}
	for range rounds {
		rapid.Check(t, live)
	}
}

// live is one run: persons, leaseholders and the store act at random, and then all that
// is pending runs.
func live(t *rapid.T) {
	m := newModel(t)
	t.Repeat(map[string]func(*rapid.T){
		"":         m.check,
		"append":   m.append,
		"next":     m.next,
		"next2":    m.next, // more often
		"peek":     m.peek,
		"peek2":    m.peek,
		"peek3":    m.peek,
		"read":     m.read,
		"loaded":   m.loaded,
		"settle":   m.settle,
		"settle2":  m.settle,
		"fail":     m.fail,
		"postpone": m.postpone,
		"exit":     m.exit,
		"overdue":  m.overdue,
		"act":      m.act,
		"wait":     m.wait,
	})
	m.finish(t)
}
