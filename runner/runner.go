// Package runner gives accounts their turns: strictly in order within an account,
// in parallel across accounts.
//
//	        Appended (after the commit)
//	              |
//	           [ lane ]  one per account that has pending events
//	              |
//	ready --> a poller leases it --> running --> settled --> next event, or gone
//	  ^                                 |
//	  |        slice over, others wait  |
//	  +---------------------------------+--> retrying  until its time has come
//	  |                                 +--> waiting   for a slot of its function
//	  +-- due, slot free                +--> parked    for a person
//	                                    +--> paused    by a person
//
// A lane is hot while memory holds all of its account's pending events, else cold:
// then its events are read from the file when its turn comes. A poller only takes
// turns; an account that is inside a function or waits for its settle holds a
// goroutine, and no poller.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/functions"
)

// store is what the runner asks of the storage. Beside what each method names, those
// without a context return db.ErrFenced, db.ErrUnavailable, db.ErrOutcomeUnknown and
// db.ErrClosed, after which the storage writes nothing more, and db.ErrStorageFull,
// where nothing was written and the event stays pending.
type store interface {
	// Settle ends runs in one transaction, in order, and returns how many; each with its
	// effect and result or not at all. Where that is not all, the error says why the next
	// one was not: the effect's own error, *db.PanicError, db.ErrEffectTooSlow, or
	// db.ErrSuperseded where another has ended the run.
	Settle(items []db.Settlement) (int, error)
	// Hold records the attempts of an account's head. It returns db.ErrSuperseded where
	// the run is not pending any more.
	Hold(h db.Hold) error
	// PendingAfter returns up to limit pending events of an account with a position greater
	// than after, in order, of one snapshot, and not more than maxBytes of payload, but one
	// at least. more says that there may be further ones.
	PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) (events []db.Event, more bool, err error)
	// ExpandReplay makes the next events of an account's replay pending, before everything
	// else of it. more says that some may be left.
	ExpandReplay(clientID string) (more bool, err error)
}

// Options of New. Zero fields take the defaults.
type Options struct {
	Store     store
	Functions *functions.Set
	Log       *slog.Logger
	Observer  Observer // nil: nobody
	Pollers   int      // default GOMAXPROCS: as much work of ours as there can be at once
	InFlight  int      // accounts inside functions at once; default 16384
	Slice     int      // events after which a turn passes on if others wait; default 64
	HotBytes  int      // bound of all lanes' memory; default 64 MiB
}

const (
	defaultInFlight = 16384
	defaultSlice    = 64
	defaultHotBytes = 64 << 20
	sliceTime       = 250 * time.Millisecond // or so long, if others wait
	retryShare      = 4                      // accounts that retry get at most 1/4 of InFlight
	stopGrace       = 5 * time.Second        // for cancelled calls to return
)

// Runner runs functions on pending events.
type Runner struct {
	o        Options
	store    store
	observer Observer
	log      *slog.Logger
	missing  functions.Function // stands for a type that this binary lacks
	work     context.Context    // of all calls; cancelled when the drain's time is over
	cancel   context.CancelCauseFunc
	stopped  chan struct{} // closed by Stop
	reads    chan struct{} // taken by who reads a cold lane

	// mu guards everything below, and every lane.
	mu       sync.Mutex
	turn     sync.Cond // there may be a turn to take
	idle     sync.Cond // running has become 0
	stopping bool
	lanes    map[string]*lane // of the accounts that have pending events
	ready    fifo             // the lanes in ready state, but for
	handed   fifo             // those that have a slot, and
	due      fifo             // those whose head failed before
	from     int              // which of the three was asked last
	retries  laneHeap
	timer    *time.Timer // for the first of retries
	limits   map[string]*limit
	starved  fifo                          // cold lanes that wait for memory
	paused   map[string]struct{}           // accounts that an operator paused
	types    map[string]map[*lane]struct{} // that are paused, and the lanes that wait for them
	halted   bool                          // everything is paused
	pauses   atomic.Int64                  // grows with each pause, so that a slice sees that there was one
	looks    int                           // of pollers at a lane
	running  int
	retrying int // of running, those whose head failed before
	bytes    int // of all lanes' events in memory
	overdrew int // lanes that took one event beyond HotBytes
	waiting  int // pollers for which there is no turn to take
	stuck    int // of running, those whose function is over its time limit
	states   [states]int
	unheld   heads // lanes that nothing holds
	blocked  heads // the others: they failed, are stuck or parked
}

// ErrStopping is the cause of the cancelled context that a function sees when the
// time for draining is over.
var ErrStopping = errors.New("the server is stopping")

// New makes a Runner. Start gives it what is pending; AddTo lets it run.
func New(o Options) *Runner {
	if o.Pollers <= 0 {
		o.Pollers = runtime.GOMAXPROCS(0)
	}
	if o.InFlight <= 0 {
		o.InFlight = defaultInFlight
	}
	if o.Slice <= 0 {
		o.Slice = defaultSlice
	}
	if o.HotBytes <= 0 {
		o.HotBytes = defaultHotBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	r := &Runner{
		o: o, store: o.Store, log: o.Log, observer: o.Observer,
		stopped: make(chan struct{}),
		reads:   make(chan struct{}, maxReads),
		lanes:   map[string]*lane{},
		limits:  map[string]*limit{},
		paused:  map[string]struct{}{},
		types:   map[string]map[*lane]struct{}{},
	}
	r.turn.L, r.idle.L = &r.mu, &r.mu
	r.work, r.cancel = context.WithCancelCause(context.Background())
	r.missing = functions.New("missing", func(_ context.Context, ev functions.Event, _ any) (functions.Effect, error) {
		return nil, fmt.Errorf("there is no function for type %.100q", ev.Type)
	})
	for _, f := range o.Functions.All() {
		if f.MaxConcurrent() > 0 {
			r.limits[f.Name()] = &limit{n: f.MaxConcurrent()}
		}
	}
	r.timer = time.AfterFunc(time.Hour, r.wakeRetries)
	r.timer.Stop()
	return r
}

// Start takes over what recovery found, and the types that are paused. After an
// unclean stop each account's first attempt is recorded before it begins, so that an
// event that ends the process is found out. Start is called once, before Changed,
// Appended and AddTo.
func (r *Runner) Start(backlog []db.Backlog, paused []string, unclean bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, typ := range paused {
		r.pauseType(typ, true)
	}
	now := time.Now()
	for _, b := range backlog {
		if b.Paused {
			r.paused[b.ClientID] = struct{}{}
		}
		if b.Paused && b.Events == 0 && !b.Replaying {
			continue
		}
		l := &lane{clientID: b.ClientID, attempts: b.Attempts, held: b.Attempts > 0, paused: b.Paused, replaying: b.Replaying}
		l.tail = math.MinInt64 // a replay may be pending
		if unclean {
			// Running singly, the event that ends the process is the head next time.
			l.lease.record, l.lease.single = true, r.o.Slice
		}
		r.enter(l, b.HeadPosition)
		switch {
		case b.Parked:
			r.become(l, parked)
		case b.NextAt.After(now):
			r.retryLater(l, b.NextAt)
		default:
			r.makeReady(l)
		}
	}
}

// AddTo adds the pollers to g, and an actor that stays until every account has left
// its function: the calls get drain to return, then their context is cancelled.
func (r *Runner) AddTo(g *run.Group, drain time.Duration) {
	for range r.o.Pollers {
		g.Add(r.poll, func(error) { r.Stop() })
	}
	g.Add(func() error {
		<-r.stopped
		return r.drain(drain)
	}, func(error) { r.Stop() })
}

// Stop stops the taking of turns. It does not wait.
func (r *Runner) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return
	}
	r.stopping = true
	r.timer.Stop()
	close(r.stopped)
	r.turn.Broadcast()
	r.idle.Broadcast()
}

// Abort is Stop where the storage has failed: nothing can be recorded any more, so
// calls are cancelled at once.
func (r *Runner) Abort() {
	r.Stop()
	r.cancel(ErrStopping)
}

// drain waits for the calls; those that don't return even when cancelled are named
// and left behind. They can write nothing once the database is closed.
func (r *Runner) drain(patience time.Duration) error {
	defer r.cancel(ErrStopping)
	if r.work.Err() == nil && r.waitIdle(patience) {
		return nil
	}
	r.log.Warn("functions are cancelled", "accounts", r.inside())
	r.cancel(ErrStopping)
	if !r.waitIdle(stopGrace) {
		r.log.Error("functions ignore that they were cancelled and are left behind", "accounts", r.inside())
	}
	return nil
}

func (r *Runner) waitIdle(patience time.Duration) bool {
	over := false
	t := time.AfterFunc(patience, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		over = true
		r.idle.Broadcast()
	})
	defer t.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.running > 0 && !over {
		r.idle.Wait()
	}
	return r.running == 0
}

func (r *Runner) inside() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// poll takes turns until Stop.
func (r *Runner) poll() error {
	for {
		l := r.next()
		if l == nil {
			return nil
		}
		go r.take(l)
	}
}

// next waits for a lane whose turn it is and leases it; nil after Stop.
func (r *Runner) next() *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.stopping {
		if l := r.pick(); l != nil {
			r.become(l, running)
			l.lease.since, l.lease.ran = time.Now(), 0
			r.running++
			if l.retries = l.attempts > 0; l.retries {
				r.retrying++
			}
			return l
		}
		r.waiting++
		r.turn.Wait()
		r.waiting--
	}
	return nil
}

// pick takes the next lane whose turn it is: from ready, handed and due by turns, so
// that none of them has to wait for the others to be empty. mu is held.
func (r *Runner) pick() *lane {
	if r.running >= r.o.InFlight || r.halted {
		return nil
	}
	for range 3 {
		r.from = (r.from + 1) % 3
		var l *lane
		switch r.from {
		case 0:
			l = r.first(&r.ready)
		case 1:
			l = r.first(&r.handed)
		case 2:
			if r.retrying < max(1, r.o.InFlight/retryShare) {
				l = r.first(&r.due)
			}
		}
		if l != nil {
			return l
		}
	}
	return nil
}

// first takes the first lane of q that isn't paused. One that is goes aside, so that
// a pause costs the pollers one look and no more. mu is held.
func (r *Runner) first(q *fifo) *lane {
	for {
		l := q.pop()
		if l == nil {
			return nil
		}
		r.looks++
		if !l.paused {
			return l
		}
		l.waitsFor = ""
		r.become(l, paused)
		r.freeSlots(l)
		r.forget(l)
	}
}

// makeReady puts l at the end of those that wait for a turn. mu is held.
func (r *Runner) makeReady(l *lane) {
	r.become(l, ready)
	switch {
	case l.slot != nil: // whoever retries: an idle slot would hold up others
		r.handed.push(l)
	case l.attempts > 0:
		r.due.push(l)
	default:
		r.ready.push(l)
	}
	r.turn.Signal()
}

// aside ends the lease and leaves the lane in state s. mu is held.
func (r *Runner) aside(l *lane, s state) {
	r.become(l, s)
	r.leave(l)
}

// leave ends l's lease; the caller has put l where it belongs, and must not touch it
// any more once it lets go of mu. mu is held.
func (r *Runner) leave(l *lane) {
	r.freeSlots(l)
	r.running--
	r.recovered(l)
	if r.running == 0 {
		r.idle.Broadcast()
	}
	r.turn.Signal()
	r.feed()
}

// recovered takes l out of those that retry. mu is held.
func (r *Runner) recovered(l *lane) {
	if l.retries {
		l.retries = false
		r.retrying--
	}
}
