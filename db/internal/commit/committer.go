// Package commit lets the writes of many goroutines share transactions. A Committer is the
// one goroutine that writes: what waits while a group of operations is committed becomes the
// next group, so groups grow with the load and no timer is needed. It knows no SQL: what a
// transaction is, and what its errors mean, is said by the engine, its Store.
package commit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"inturn/db"
)

// Store is the engine behind a Committer. All but Room is called from the committer's
// goroutine alone.
type Store[W any] interface {
	// Transaction executes ops in order (Op.Run) in one transaction and commits it. It may
	// stop early, and returns how many it took. On an error nothing of ops is written: an
	// *Error says what becomes of ops, and ops[n] is the one in which it happened, where it
	// happened in one; any other error counts as of class IO. Without savepoints a failing
	// operation may end the group with class WithSavepoints, and the group comes again.
	Transaction(ops []*Op[W], savepoints bool) (n int, err error)
	// Committed is called after each commit, before the operations are answered.
	Committed()
	// Tidy is called after each group, once its operations are answered.
	Tidy()
	// Room returns nil, or an error that wraps db.ErrStorageFull where appends would take
	// the room that is kept for what was accepted.
	Room() error
	// Full is called when a transaction has found the disk full: it makes room where it can.
	Full(err error)
	// Holder names for people the process that has the write lock. It is called when a
	// transaction has found that another connection has it.
	Holder() string
	// TryLock reports whether the write lock is free.
	TryLock() bool
}

// Committer queues operations, and commits many in one transaction.
type Committer[W any] struct {
	store Store[W]
	log   *slog.Logger
	guard sync.Locker // held while the store is used

	mu        sync.Mutex
	queue     queue[W]
	closing   bool
	failure   error     // why the process must end
	fullUntil time.Time // the disk was full: appends are refused until then
	cautious  bool      // it was full, or another writer was there: not yet seen better

	wake   chan struct{} // cap 1
	failed chan struct{} // closed when failure is set
	done   chan struct{} // closed when the goroutine has ended
}

// fullRetryAfter is how long after a full disk the next group is tried.
const fullRetryAfter = time.Second

// New returns a committer that has still to be started.
func New[W any](log *slog.Logger) *Committer[W] {
	return &Committer[W]{log: log, wake: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{})}
}

// Start starts the goroutine. It holds guard while it uses the store. Nothing may be
// submitted before.
func (c *Committer[W]) Start(store Store[W], guard sync.Locker) {
	c.store, c.guard = store, guard
	go c.run()
}

// Do submits op and waits for its end, or for ctx's: then op may be executed or not, and
// must not be read. It returns op's error, or why op was not taken.
func (c *Committer[W]) Do(ctx context.Context, op *Op[W]) error {
	if err := c.Submit(op); err != nil {
		return err
	}
	select {
	case <-op.ended:
		return op.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Submit queues op. An error means that it is not queued and will not end:
// db.ErrStorageFull and db.ErrOverloaded for appends alone, db.ErrFenced,
// db.ErrUnavailable or db.ErrClosed.
func (c *Committer[W]) Submit(op *Op[W]) error {
	if !op.RetriedWhenFull {
		if err := c.store.Room(); err != nil {
			return err
		}
	}
	op.limit, op.ended = max(op.Steps, 1), make(chan struct{})
	if op.Began.IsZero() {
		op.Began = time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refusal(); err != nil {
		return err
	}
	switch q := &c.queue; {
	case op.RetriedWhenFull:
		q.first = append(q.first, op)
	case time.Now().Before(c.fullUntil):
		return db.ErrStorageFull
	case len(q.appends) >= maxQueueOps, q.bytes+op.Size > maxQueueBytes && q.bytes > 0:
		return db.ErrOverloaded
	default:
		q.appends = append(q.appends, op)
		q.bytes += op.Size
	}
	c.signal()
	return nil
}

func (c *Committer[W]) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// refusal says why nothing is taken any more. c.mu is held.
func (c *Committer[W]) refusal() error {
	switch {
	case c.failure != nil && errors.Is(c.failure, db.ErrFenced):
		return db.ErrFenced
	case c.failure != nil:
		return db.ErrUnavailable
	case c.closing:
		return db.ErrClosed
	}
	return nil
}

// run is the goroutine. It ends when Close was called and everything taken has
// been answered, or when the storage fails.
func (c *Committer[W]) run() {
	defer close(c.done)
	var y yielding
	for {
		y.yield()
		ops, wait, more := c.take()
		y.took(len(ops))
		switch {
		case len(ops) > 0:
			c.guard.Lock()
			c.commit(ops, false)
			if c.Err() == nil { // the operations have been answered
				c.store.Tidy()
			}
			c.guard.Unlock()
		case !more:
			return
		case wait > 0:
			select {
			case <-c.wake:
			case <-time.After(wait):
				c.probe()
			}
		default:
			<-c.wake
		}
	}
}

// take returns the next group, or how long to wait for one (0: until woken). more
// is false once there will be none.
func (c *Committer[W]) take() (ops []*Op[W], wait time.Duration, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return nil, 0, false
	}
	now := time.Now()
	if wait = c.fullUntil.Sub(now); wait > 0 && !c.closing {
		return nil, wait, true
	}
	maxOps := maxGroupOps
	if c.cautious {
		maxOps = 1 // what doesn't fit together may fit alone
	}
	if len(c.queue.appends) > 0 && c.store.Room() != nil { // what is queued would take the room for settles
		c.queue.refuseAppends(db.ErrStorageFull)
	}
	if ops = c.queue.take(maxOps, now); len(ops) == 0 && !c.closing && !c.queue.locked.since.IsZero() {
		return nil, probeEvery, true
	}
	return ops, 0, len(ops) > 0 || !c.closing
}

// End makes the process end although no write has failed.
func (c *Committer[W]) End(err error) {
	c.fail(err)
	c.signal()
}

// Close takes nothing more, and ends the goroutine after everything taken has been answered.
// It returns what Err does.
func (c *Committer[W]) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.signal()
	<-c.done
	return c.Err()
}

// Err returns why the process must end, or nil.
func (c *Committer[W]) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// Failed returns a channel that is closed once Err is not nil.
func (c *Committer[W]) Failed() <-chan struct{} { return c.failed }

// Done returns a channel that is closed once the goroutine has ended.
func (c *Committer[W]) Done() <-chan struct{} { return c.done }

// Ready returns nil if appends are taken, else why not.
func (c *Committer[W]) Ready() error {
	if err := c.store.Room(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refusal(); err != nil {
		return err
	}
	if time.Now().Before(c.fullUntil) {
		return db.ErrStorageFull
	}
	if c.queue.locked.long() {
		return c.queue.locked.err()
	}
	return nil
}

// Stats returns how many operations wait, and whether the last transaction found the disk
// full.
func (c *Committer[W]) Stats() (queued int, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue.first) + len(c.queue.appends), time.Now().Before(c.fullUntil)
}
