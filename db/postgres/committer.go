package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"inturn/db"
)

// operation is one caller's write. Only the committer's goroutine calls it, and a caller
// reads its outcome after finish.
type operation interface {
	// finish tells the caller: nil after the commit, else why nothing was written.
	finish(err error)
	// kept operations survive a full disk: they are tried again.
	kept() bool
	// alone reports whether the operation wants a transaction of its own.
	alone() bool
	// account is what the operation has to itself in a group, "" for none.
	account() string
	// since is when it began to wait.
	since() time.Time
	// size is about what the operation adds, in bytes.
	size() int
}

// caller is the part of an operation by which a goroutine waits for its end.
type caller struct {
	err   error // its own outcome
	began time.Time
	done  chan struct{}
}

func newCaller() caller { return caller{began: time.Now(), done: make(chan struct{})} }

func (c *caller) since() time.Time { return c.began }

func (c *caller) finish(err error) {
	if err != nil {
		c.err = err
	}
	close(c.done)
}

// committer is the one goroutine that writes. Operations wait in two queues; what waits
// while a group is committed becomes the next one.
type committer struct {
	w      *writer
	log    *slog.Logger
	notify func(*delta)

	mu        sync.Mutex
	first     []operation // settles, holds, verbs, housekeeping
	appends   []operation
	bytes     int // of appends
	closing   bool
	failure   error     // why the process must end
	fullUntil time.Time // the disk was full: appends are refused until then

	wake   chan struct{} // cap 1
	failed chan struct{} // closed when failure is set
	done   chan struct{} // closed when the goroutine has ended
}

// Bounds of a group and of the queue.
const (
	maxAppends     = 1024 // operations of a group
	maxSettles     = 256  // accounts of a group
	maxGroupBytes  = 4 << 20
	maxQueueOps    = 65536
	maxQueueBytes  = 64 << 20
	maxAppendWait  = 2 * time.Second // an append that waited longer is refused, not executed
	fullRetryAfter = time.Second
	maxTries       = 8 // of an operation that conflicts with other transactions
)

func newCommitter(w *writer, log *slog.Logger, notify func(*delta)) *committer {
	return &committer{w: w, log: log, notify: notify, wake: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{})}
}

// submit queues op. An error means that it is not queued and finish is not called.
func (c *committer) submit(op operation) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refusal(); err != nil {
		return err
	}
	switch {
	case op.kept():
		c.first = append(c.first, op)
	case time.Now().Before(c.fullUntil):
		return db.ErrStorageFull
	case len(c.appends) >= maxQueueOps, c.bytes+op.size() > maxQueueBytes && c.bytes > 0:
		return db.ErrOverloaded
	default:
		c.appends = append(c.appends, op)
		c.bytes += op.size()
	}
	c.signal()
	return nil
}

func (c *committer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// refusal says why nothing is taken any more. c.mu is held.
func (c *committer) refusal() error {
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

// run is the goroutine. It ends when close was called and everything taken has been
// answered, or when the storage fails.
func (c *committer) run() {
	defer close(c.done)
	for {
		ops, wait, more := c.take()
		switch {
		case len(ops) > 0:
			c.commit(ops)
		case !more:
			return
		case wait > 0:
			select {
			case <-c.wake:
			case <-time.After(wait):
			}
		default:
			<-c.wake
		}
	}
}

// take returns the next group, or how long to wait for one (0: until woken). more is false
// once there will be none.
func (c *committer) take() (ops []operation, wait time.Duration, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return nil, 0, false
	}
	now := time.Now()
	if wait = c.fullUntil.Sub(now); wait > 0 && !c.closing {
		return nil, wait, true
	}
	if len(c.first) > 0 && c.first[0].alone() {
		op := c.first[0]
		c.first = pop(c.first)
		return []operation{op}, 0, true
	}
	accounts := map[string]struct{}{}
	for len(c.first) > 0 && len(ops) < maxSettles {
		op := c.first[0]
		if _, twice := accounts[op.account()]; twice || op.alone() {
			break
		}
		accounts[op.account()] = struct{}{}
		ops, c.first = append(ops, op), pop(c.first)
	}
	for n, bytes := 0, 0; len(c.appends) > 0; {
		op := c.appends[0]
		late := now.Sub(op.since()) > maxAppendWait
		if !late && (n >= maxAppends || n > 0 && bytes+op.size() > maxGroupBytes) {
			break
		}
		c.appends, c.bytes = pop(c.appends), c.bytes-op.size()
		if late {
			op.finish(db.ErrOverloaded)
			continue
		}
		ops, n, bytes = append(ops, op), n+1, bytes+op.size()
	}
	return ops, 0, len(ops) > 0 || !c.closing
}

// pop drops the first element and lets go of a queue's memory once it is empty.
func pop(q []operation) []operation {
	q[0] = nil
	if q = q[1:]; len(q) == 0 {
		return nil
	}
	return q
}

// commit brings ops to their end: committed, refused, kept for later, or answered with the
// failure that ends the process.
//
//	own error of one        the others run again without it, and then it alone: its error
//	                        does not come from its neighbours
//	own error of none,      each half runs again
//	a conflict;      (one alone: its error; after a conflict it is tried 8 times)
//	a constraint at COMMIT
//	disk full               appends are refused, the others kept
//	connection broken       everything is refused and the process ends
//	... at COMMIT           ErrOutcomeUnknown for all, and the process ends
//	damaged, fenced         everything is refused and the process ends
func (c *committer) commit(ops []operation) {
	for tries := 0; len(ops) > 0; tries++ {
		if err := c.failedWith(); err != nil {
			refuse(ops, err)
			return
		}
		d, err := c.w.transaction(ops)
		if err == nil {
			c.succeed(ops, d)
			return
		}
		ge, ok := errors.AsType[*groupError](err)
		if !ok {
			ge = &groupError{class: classify(err), err: err}
		}
		switch ge.class {
		case classOwn, classAgain:
			ops = c.divide(ops, ge, tries)
		case classFull:
			c.full(ops, ge)
			return
		case classLost:
			c.fail(ge.err)
			refuse(ops, db.ErrUnavailable)
			return
		case classUnknown:
			c.fail(ge.err)
			refuse(ops, db.ErrOutcomeUnknown)
			return
		case classCorrupt:
			c.fail(fmt.Errorf("%w: %w", db.ErrCorrupt, ge.err))
			refuse(ops, db.ErrUnavailable)
			return
		case classFenced:
			c.fail(ge.err)
			refuse(ops, c.failedWith())
			return
		}
	}
}

// divide commits a part of ops, and returns what is still to be tried.
func (c *committer) divide(ops []operation, ge *groupError, tries int) []operation {
	if len(ops) > 1 {
		if len(ge.ops) == 0 {
			half := len(ops) / 2
			c.commit(ops[:half:half])
			return ops[half:]
		}
		c.commit(slices.DeleteFunc(slices.Clone(ops), func(op operation) bool { return slices.Contains(ge.ops, op) }))
		for _, op := range ge.ops {
			c.commit([]operation{op})
		}
		return nil
	}
	if ge.class == classAgain && tries < maxTries {
		return ops
	}
	if s, ok := ops[0].(*settleOp); ok && s.cut(ge.err) {
		return ops // what comes before the item that failed
	}
	ops[0].finish(ge.err)
	return nil
}

// failedWith returns what to tell once the process must end, else nil.
func (c *committer) failedWith() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		return nil
	}
	return c.refusal()
}

func (c *committer) succeed(ops []operation, d *delta) {
	c.mu.Lock()
	c.fullUntil = time.Time{}
	c.mu.Unlock()
	d.commit()
	c.notify(d)
	for _, op := range ops {
		op.finish(nil)
	}
}

func (c *committer) full(ops []operation, err error) {
	c.log.Error("the server's disk is full: events are refused until there is room", "error", err.Error())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fullUntil = time.Now().Add(fullRetryAfter)
	keep := c.failure == nil && !c.closing
	for _, op := range ops {
		if op.kept() && keep {
			c.first = append(c.first, op) // behind those that may fit
		} else {
			op.finish(db.ErrStorageFull)
		}
	}
}

func refuse(ops []operation, err error) {
	for _, op := range ops {
		op.finish(err)
	}
}

// fail records why the process must end and refuses what waits.
func (c *committer) fail(err error) {
	c.mu.Lock()
	if c.failure != nil {
		c.mu.Unlock()
		return
	}
	c.failure = err
	refusal := c.refusal()
	waiting := append(c.first, c.appends...)
	c.first, c.appends, c.bytes = nil, nil, 0
	c.mu.Unlock()
	close(c.failed)
	refuse(waiting, refusal)
	c.signal()
}

// close ends the goroutine after everything taken has been answered.
func (c *committer) close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.signal()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}
