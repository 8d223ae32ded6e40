package schedule

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"inturn/db"
)

// A simulation of a server's life, on its own clock: many accounts are ready at once, a
// few of them deep, some events fail, and memory holds a small part of what is pending.
// Each event must be given out once and in the order of its account, no account may wait
// longer than those before it allow, and memory must stay within its bound.
func TestSimulation(t *testing.T) {
	t.Run("small", func(t *testing.T) { simulate(t, 20_000, 200_000, 8) })
	t.Run("full", func(t *testing.T) {
		if os.Getenv("CI") == "" {
			t.Skip("set CI=1")
		}
		simulate(t, 1_000_000, 10_000_000, 32)
	})
}

// simulate gives each account so many bytes of memory, on average.
func simulate(t *testing.T, lanes, events, bytes int) {
	began := time.Now()
	w := newWorld(t, lanes, events, Limits{Running: lanes / 60, Slice: 64, Memory: lanes * bytes})
	for w.settled < events {
		w.tick()
	}
	if left := w.s.Stats(); left.Running != 0 || left.Bytes != 0 || left.Slots != 0 || len(w.s.lanes) != 0 {
		t.Errorf("%+v and %d lanes are left, want nothing", left, len(w.s.lanes))
	}
	if w.loads == 0 || w.failures == 0 || w.starved == 0 || w.sliced == 0 || w.waited == 0 {
		t.Errorf("%d loads, %d failures, %d lanes starved, %d slices, %d waits for a slot: the simulation shows too little", w.loads, w.failures, w.starved, w.sliced, w.waited)
	}
	t.Logf("%d events of %d accounts in %v: %d ticks, %d leases, %d loads, %d failures, %d slices over, %d waits for a slot, %d for memory, at most %d bytes of %d in memory, at most %d leases until a turn",
		events, lanes, time.Since(began).Round(time.Millisecond), w.now, w.leases, w.loads, w.failures, w.sliced, w.waited, w.starved, w.most, w.s.limits.Memory, w.longest)
}

// world is what is around a schedule. Positions are from 1, and chain is the store: the
// next position of the same account, or 0.
type world struct {
	t   *testing.T
	s   *Schedule
	rnd *rand.Rand
	now int // in ticks

	ids           []string
	first         []int32 // of each account: its first pending position, or 0
	last          []int32
	chain         []int32
	typ           []uint8    // of each position
	ready         []mark     // of each account
	live          []bool     // of each account: it has a lane
	batch, loaded []db.Event // reused
	calls         [64][]call // by the tick, modulo 64, in which they end
	running       [3]int     // calls by type
	appended      int
	settled       int
	events        int

	leases, loads, failures, starved, sliced, waited, longest, most int
}

// mark is when an account became ready.
type mark struct {
	leases int // until then; 0: it isn't ready, or not known to be
	before int // lanes that were ready
}

// call is events that a function works on.
type call struct {
	lease Lease
	n     int
	typ   uint8
	fails bool
}

const (
	tick    = 10 * time.Millisecond
	pure    = 0 // events are worked ahead
	plain   = 1
	bounded = 2 // few calls at once

)

var typeNames = [...]string{"pure", "plain", "bounded"}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, lanes, events int, limits Limits) *world {
	w := &world{
		t: t, s: New(limits, map[string]int{"pure": 0, "plain": 0, "bounded": limits.Running/400 + 1}), rnd: rand.New(rand.NewPCG(1, 2)),
		ids: make([]string, lanes), live: make([]bool, lanes), first: make([]int32, lanes), last: make([]int32, lanes),
		ready: make([]mark, lanes), chain: make([]int32, events+1), typ: make([]uint8, events+1), events: events,
	}
	for a := range w.ids {
		w.ids[a] = strconv.Itoa(a)
	}
	return w
}

// maxCalls is how many calls of the bounded type may run at once.
func (w *world) maxCalls() int { return w.s.types.byName["bounded"].slots.bound }

func (w *world) time() time.Time { return epoch.Add(time.Duration(w.now) * tick) }

// tick ends the calls whose time has come, takes new events, and leases what it can.
func (w *world) tick() {
	w.now++
	ended := w.calls[w.now%len(w.calls)]
	w.calls[w.now%len(w.calls)] = nil
	for _, c := range ended {
		w.end(c)
	}
	for range 64 {
		w.append(256)
		for range 80 {
			l, ok := w.s.Next(w.time())
			if !ok {
				break
			}
			w.lease(l)
		}
	}
	w.check()
}

// account returns the one that has a lane.
func (w *world) account(l Lease) int {
	a, err := strconv.Atoi(l.ClientID())
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// append accepts n events: each twentieth is of a deep account, one in a thousand.
func (w *world) append(n int) {
	w.batch = w.batch[:0]
	for range min(n, w.events-w.appended) {
		w.appended++
		a, position := w.rnd.IntN(len(w.ids)), int32(w.appended)
		if position%20 == 0 {
			a = a / 1000 * 1000
		}
		w.typ[position] = pure
		if k := w.rnd.IntN(100); k == 0 {
			w.typ[position] = bounded
		} else if k < 10 {
			w.typ[position] = plain
		}
		if w.first[a] == 0 {
			w.first[a] = position
			if !w.live[a] {
				w.live[a] = true
				w.ready[a] = mark{w.leases + 1, w.s.ready.len() + n}
			}
		} else {
			w.chain[w.last[a]] = position
		}
		w.last[a] = position
		w.batch = append(w.batch, w.event(a, position))
	}
	w.s.Appended(w.batch)
}

func (w *world) event(a int, position int32) db.Event {
	return db.Event{ClientID: w.ids[a], Type: typeNames[w.typ[position]], Position: int64(position)}
}

// lease checks that a lane did not wait too long, and follows the schedule.
func (w *world) lease(l Lease) {
	w.leases++
	a := w.account(l)
	if m := w.ready[a]; m.leases > 0 {
		waited := w.leases - m.leases
		w.longest = max(w.longest, waited)
		if bound := 3*m.before + 3; waited > bound {
			w.t.Fatalf("%s was ready behind %d lanes and has waited for %d leases, want at most %d", l.ClientID(), m.before, waited, bound)
		}
		w.ready[a] = mark{}
	}
	w.follow(l, a)
}

// follow asks a leased lane what is next until a call has begun or the lease has ended.
func (w *world) follow(l Lease, a int) {
	for {
		step := l.Peek(w.time())
		switch step.Do {
		case Ended:
			w.over(l, a)
			return
		case Load:
			if !w.load(l, a) {
				w.starved++
				return
			}
		case Run:
			w.begin(l, a, step)
			return
		default:
			w.t.Fatalf("%s: step %d", l.ClientID(), step.Do)
		}
	}
}

// over checks why a lease has ended.
func (w *world) over(l Lease, a int) {
	switch gone := l.l.agesAt == 0; {
	case gone && w.first[a] != 0:
		w.t.Fatalf("%s has gone with position %d pending", w.ids[a], w.first[a])
	case gone:
		w.live[a] = false
	case l.l.state == Ready:
		w.sliced++
		w.ready[a] = mark{w.leases + 1, w.s.ready.len() - 1}
	case l.l.state == Waiting:
		w.waited++
		if s := &w.s.types.byName["bounded"].slots; s.free(s.standing(l.l)) {
			w.t.Fatalf("%s waits for one of %d slots, %v are taken", w.ids[a], w.maxCalls(), s.by)
		}
	default:
		w.t.Fatalf("%s is in state %d", w.ids[a], l.l.state)
	}
}

// load reads from the store, while others are appended.
func (w *world) load(l Lease, a int) bool {
	request, ok := l.Load()
	if !ok {
		return false
	}
	w.loads++
	events := w.loaded[:0]
	more, room := false, request.Bytes
	for p := w.first[a]; p != 0; p = w.chain[p] {
		if int64(p) <= request.After {
			continue
		}
		ev := w.event(a, p)
		if room -= size(&ev); len(events) == request.Events || room < 0 && len(events) > 0 {
			more = true
			break
		}
		events = append(events, ev)
	}
	if w.loads%8 == 0 {
		w.append(8)
	}
	w.loaded = events
	l.Loaded(events, more)
	return true
}

// begin checks that what is given out is what comes next, and starts a call.
func (w *world) begin(l Lease, a int, step Step) {
	n, typ := 1, w.typ[w.first[a]]
	if typ == pure {
		for n < len(step.Events) && step.Events[n].Type == "pure" {
			n++
		}
	}
	p := w.first[a]
	for i := range n {
		if int64(p) != step.Events[i].Position {
			w.t.Fatalf("%s is given position %d, position %d is next", w.ids[a], step.Events[i].Position, p)
		}
		p = w.chain[p]
	}
	if n > w.s.limits.Slice {
		w.t.Fatalf("%d events at once", n)
	}
	takes := 1
	if typ != pure {
		takes += w.rnd.IntN(20)
	}
	w.running[typ]++
	if w.running[bounded] > w.maxCalls() {
		w.t.Fatalf("%d calls of the bounded type, want at most %d", w.running[bounded], w.maxCalls())
	}
	at := (w.now + takes) % len(w.calls)
	w.calls[at] = append(w.calls[at], call{l, n, typ, step.Attempts < 3 && w.rnd.IntN(100) == 0})
}

// end settles a call's events, or has the store hold the first.
func (w *world) end(c call) {
	a := w.account(c.lease)
	w.running[c.typ]--
	if c.fails {
		w.failures++
		attempts, next := c.lease.l.attempts+1, w.time().Add(time.Duration(w.rnd.IntN(100))*tick)
		w.s.Changed([]db.Change{{ClientID: w.ids[a], Attempts: attempts, NextAt: next}}, w.time())
		c.lease.Park(w.time())
		return
	}
	var p int32
	for range c.n {
		p = w.first[a]
		w.first[a] = w.chain[p]
		w.settled++
	}
	c.lease.Advance(c.n, int64(p))
	w.follow(c.lease, a)
}

// check compares the schedule with its bounds.
func (w *world) check() {
	s := w.s.Stats()
	w.most = max(w.most, s.Bytes)
	const largest = eventOverhead + 64
	if bound := w.s.limits.Memory + (1+MaxOvercommitted)*largest; s.Bytes > bound {
		w.t.Fatalf("%d bytes in memory, want at most %d", s.Bytes, bound)
	}
	if s.Running > w.s.limits.Running || s.Retrying > w.s.limits.Running/retryShare {
		w.t.Fatalf("%d lanes are leased, %d of them retry; want at most %d, and a quarter", s.Running, s.Retrying, w.s.limits.Running)
	}
	if w.now%500 == 0 {
		if err := w.s.Verify(); err != nil {
			w.t.Fatal(err)
		}
	}
}
