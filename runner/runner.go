// Package runner runs functions on pending events: strictly in order within an account,
// in parallel across accounts.
//
//	db, after a commit: Changed, Appended
//	          |
//	          v                 Next
//	   schedule.Schedule --------------------> poller --- go ---> lease
//	          ^                                                     | Peek: what is next?
//	          |                                                     | work: call the function
//	          +-----------------------------------------------------+ Settle or Hold, in the store
//	                    Advance, Delay, Park, Done
//
// Package schedule decides which account runs next, and knows nothing of this package.
// Here are the lock around it, the pollers, which only take leases, and the goroutine of
// each lease: it is inside a function or waits for its settle, and holds no poller.
package runner

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/functions"
	"inturn/runner/schedule"
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
	Slice     int      // events after which an account makes room if others wait; default 64
	HotBytes  int      // bound of all pending events in memory; default 64 MiB
}

const (
	defaultInFlight = 16384
	defaultSlice    = 64
	defaultHotBytes = 64 << 20
)

// Runner runs functions on pending events.
type Runner struct {
	o        Options
	store    store
	observer Observer
	log      *slog.Logger
	work     context.Context // of all calls; cancelled when the drain's time is over
	cancel   context.CancelCauseFunc
	stopped  chan struct{} // closed by Stop
	reads    chan struct{} // a place in it is held by each read of the store
	pauses   atomic.Int64  // grows with each pause, so that a slice sees that there was one

	mu        sync.Mutex // guards what follows; see unlock
	schedule  *schedule.Schedule
	functions *functions.Set // newest
	next      sync.Cond      // there may be a lane to lease
	idle      sync.Cond      // no lane is leased any more
	waiting   int            // pollers for which there is no lane to lease
	timer     *time.Timer    // for the schedule's next delay
	timerAt   time.Time      // zero: it is not set
	stopping  bool
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
		o: o, store: o.Store, log: o.Log, observer: o.Observer, functions: o.Functions,
		stopped:  make(chan struct{}),
		reads:    make(chan struct{}, maxReads),
		schedule: newSchedule(o),
	}
	r.next.L, r.idle.L = &r.mu, &r.mu
	r.work, r.cancel = context.WithCancelCause(context.Background())
	r.timer = time.AfterFunc(time.Hour, r.delayOver)
	r.timer.Stop()
	return r
}

func newSchedule(o Options) *schedule.Schedule {
	return schedule.New(schedule.Limits{Running: o.InFlight, Slice: o.Slice, Memory: o.HotBytes}, types(o.Functions))
}

// types returns the types that have a function, each with its bound of calls.
func types(set *functions.Set) map[string]int {
	bounds := map[string]int{}
	for _, f := range set.All() {
		if f.Name() != "" {
			bounds[f.Name()] = f.MaxConcurrent()
		}
	}
	return bounds
}

// longestWait is how long an account may wait that is found at a start.
func longestWait(set *functions.Set) time.Duration {
	longest := time.Hour
	for _, f := range set.All() {
		longest = max(longest, f.Policy().MaxBackoff)
	}
	return longest
}

// SetFunctions replaces the functions while the runner runs. A call that runs ends with
// the function that it began with. Accounts whose next event had no function go on at
// once if it has one now; those whose next event has none any more wait.
func (r *Runner) SetFunctions(set *functions.Set) {
	r.mu.Lock()
	defer r.unlock()
	r.functions = set
	r.schedule.SetTypes(types(set))
}

// Start takes over what recovery found, and the types that are paused ("" is
// everything). After an unclean stop each account's first attempt is recorded before it
// begins, so that an event that ends the process is found out. Start is called once,
// before Changed, Appended and AddTo.
//
// No account waits longer than the longest MaxBackoff of all functions, or an hour where
// that is longer (an endpoint's Retry-After may be as long), whatever the backlog says: it
// may have been written by a clock that was wrong.
func (r *Runner) Start(backlog []db.Backlog, paused []string, unclean bool) {
	r.mu.Lock()
	defer r.unlock()
	now := time.Now()
	for _, typ := range paused {
		r.schedule.Changed([]db.Change{{Type: typ, Paused: true}}, now)
	}
	latest := now.Add(longestWait(r.functions))
	for _, b := range backlog {
		if b.NextAt.After(latest) {
			b.NextAt = latest
		}
		r.schedule.Restore(b, unclean, now)
	}
}

// Appended takes the new events of a commit, in the order of commits. It is called by
// the committer's goroutine and does not block.
func (r *Runner) Appended(events []db.Event) {
	r.mu.Lock()
	defer r.unlock()
	r.schedule.Appended(events)
}

// Changed takes what operators did, and what Hold wrote, in the order of commits. It is
// called by the committer's goroutine, before Appended for the same commit, and does not
// block. An account that nobody has leased follows at once, one that is leased when its
// event has ended.
func (r *Runner) Changed(changes []db.Change) {
	r.mu.Lock()
	defer r.unlock()
	for i := range changes {
		if changes[i].Paused {
			r.pauses.Add(1)
		}
	}
	r.schedule.Changed(changes, time.Now())
}
