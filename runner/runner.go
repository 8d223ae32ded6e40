// Package runner gives accounts their turns: strictly in order within an account,
// in parallel across accounts.
//
//	        Publish (after the commit)
//	              |
//	           [ lane ]  one per account that has pending events
//	              |
//	ready --> a poller leases it --> running --> settled --> next event, or gone
//	  ^                                 |
//	  |        slice over, others wait  |
//	  +---------------------------------+--> retrying  until its time has come
//	  |                                 +--> waiting   for a slot of its function
//	  +-- due, slot free                +--> parked    for a person
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
	"runtime"
	"sync"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/functions"
)

// store is what the runner needs of *db.DB.
type store interface {
	Settle(items []db.Settlement) (int, error)
	Hold(h db.Hold) error
	PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) ([]db.Event, bool, error)
}

// Options of New. Zero fields take the defaults.
type Options struct {
	Store     store
	Functions *functions.Set
	Log       *slog.Logger
	Pollers   int // default GOMAXPROCS: as much work of ours as there can be at once
	InFlight  int // accounts inside functions at once; default 16384
	Slice     int // events after which a turn passes on if others wait; default 64
	HotBytes  int // bound of all lanes' memory; default 64 MiB
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
	o       Options
	store   store
	log     *slog.Logger
	missing functions.Function // stands for a type that this binary lacks
	work    context.Context    // of all calls; cancelled when the drain's time is over
	cancel  context.CancelCauseFunc
	stopped chan struct{} // closed by Stop

	// mu guards everything below, and every lane.
	mu       sync.Mutex
	turn     sync.Cond // there may be a turn to take
	idle     sync.Cond // running has become 0
	stopping bool
	lanes    map[string]*lane // of the accounts that have pending events
	ready    fifo
	due      fifo // of the lanes in ready state, those whose head failed before
	flip     bool // takes turns between ready and due
	retries  laneHeap
	timer    *time.Timer // for the first of retries
	limits   map[string]*limit
	starved  fifo // cold lanes that wait for memory
	running  int
	retrying int // of running, those whose head failed before
	bytes    int // of all lanes' events in memory
	overdrew int // lanes that took one event beyond HotBytes
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
	r := &Runner{
		o: o, store: o.Store, log: o.Log,
		stopped: make(chan struct{}),
		lanes:   map[string]*lane{},
		limits:  map[string]*limit{},
	}
	r.turn.L, r.idle.L = &r.mu, &r.mu
	r.work, r.cancel = context.WithCancelCause(context.Background())
	r.missing = functions.New("missing", func(_ context.Context, ev functions.Event, _ any) (functions.Effect, error) {
		return nil, fmt.Errorf("there is no function for type %.100q", ev.Type)
	})
	for _, f := range o.Functions.All() {
		if f.AtOnce() > 0 {
			r.limits[f.Name()] = &limit{n: f.AtOnce()}
		}
	}
	r.timer = time.AfterFunc(time.Hour, r.wakeRetries)
	r.timer.Stop()
	return r
}

// Start takes over what recovery found. After an unclean stop each account's first
// attempt is recorded before it begins, so that an event that ends the process is
// found out. Start is called once, before Publish and AddTo.
func (r *Runner) Start(backlog []db.Backlog, unclean bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, b := range backlog {
		l := &lane{clientID: b.ClientID, attempts: b.Attempts, held: b.Attempts > 0, record: unclean}
		r.lanes[b.ClientID] = l
		switch {
		case b.Parked:
			l.state = parked
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

// drain waits for the calls; those that don't return even when cancelled are named
// and left behind. They can write nothing once the database is closed.
func (r *Runner) drain(patience time.Duration) error {
	if r.waitIdle(patience) {
		return nil
	}
	r.log.Warn("the time for draining is over; functions are cancelled", "accounts", r.inside())
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
		go r.lease(l)
	}
}

// next waits for a lane whose turn it is and leases it; nil after Stop.
func (r *Runner) next() *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.stopping {
		if l := r.pick(); l != nil {
			l.state = running
			l.since = time.Now()
			l.ran = 0
			r.running++
			if l.retries = l.attempts > 0; l.retries {
				r.retrying++
			}
			return l
		}
		r.turn.Wait()
	}
	return nil
}

// pick takes the next lane of ready and due in turn. mu is held.
func (r *Runner) pick() *lane {
	if r.running >= r.o.InFlight {
		return nil
	}
	mayRetry := r.due.len() > 0 && r.retrying < max(1, r.o.InFlight/retryShare)
	if mayRetry && (r.flip || r.ready.len() == 0) {
		r.flip = false
		return r.due.pop()
	}
	r.flip = true
	return r.ready.pop()
}

// makeReady puts l at the end of those that wait for a turn. mu is held.
func (r *Runner) makeReady(l *lane) {
	l.state = ready
	if l.attempts > 0 {
		r.due.push(l)
	} else {
		r.ready.push(l)
	}
	r.turn.Signal()
}

// leave ends l's lease; the caller has put l where it belongs. mu is held.
func (r *Runner) leave(l *lane) {
	r.running--
	if l.retries {
		l.retries = false
		r.retrying--
	}
	if r.running == 0 {
		r.idle.Broadcast()
	}
	r.turn.Signal()
	r.feed()
}
