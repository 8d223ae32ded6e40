package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// committer is the one goroutine that writes. Operations wait in two queues, one of
// settles and verbs and one of appends; what waits while a group is synced becomes the
// next group, so groups grow with the load and no timer is needed. A share of each group
// is the appends', so that no backlog that is worked off keeps new events waiting.
type committer struct {
	w      *writer // set before run
	log    *slog.Logger
	space  *space
	guard  sync.Locker // held while the connection is used
	notify func(published []db.Event, settled []q.Result)

	mu        sync.Mutex
	first     []operation // settles and verbs
	appends   []operation
	bytes     int // of appends
	closing   bool
	failure   error     // why the process must end
	fullUntil time.Time // the disk was full: appends are refused until then
	cautious  bool      // it was full, or another writer was there: not yet seen better

	appendsBegin bool // in the last group; only run uses it

	wake   chan struct{} // cap 1
	failed chan struct{} // closed when failure is set
	done   chan struct{} // closed when the goroutine has ended
}

// Bounds of a group and of the queue.
const (
	maxGroupOps    = 1024
	maxGroupBytes  = 4 << 20
	appendShare    = 4 // a quarter of a group's operations and bytes belongs to appends that wait
	maxQueueOps    = 65536
	maxQueueBytes  = 64 << 20
	maxAppendWait  = 2 * time.Second // an append that waited longer is refused, not executed
	fullRetryAfter = time.Second
	maxExclusions  = 4096 // from one operation; more than it has parts, so that nothing is tried for ever
)

func newCommitter(log *slog.Logger, sp *space, notify func([]db.Event, []q.Result)) *committer {
	return &committer{
		log: log, space: sp, guard: noLock{}, notify: notify,
		wake: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{}),
	}
}

// submit queues op. An error means that it is not queued and finish is not called.
func (c *committer) submit(op operation) error {
	if !op.retriedWhenFull() {
		if err := c.space.low(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refusal(); err != nil {
		return err
	}
	switch {
	case op.retriedWhenFull():
		c.first = append(c.first, op)
	case time.Now().Before(c.fullUntil):
		return db.ErrStorageFull
	case len(c.appends) >= maxQueueOps, c.bytes+op.size() > maxQueueBytes && c.bytes > 0:
		return db.ErrOverloaded
	default:
		c.appends = append(c.appends, op)
		c.bytes += op.size()
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
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

// run is the goroutine. It ends when Close was called and everything taken has
// been answered, or when the storage fails.
func (c *committer) run() {
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
			if c.failedWith() == nil { // the operations have been answered
				c.w.conn.Checkpoint()
			}
			c.tidy()
			c.guard.Unlock()
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

// take returns the next group, or how long to wait for one (0: until woken). more
// is false once there will be none.
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
	if len(c.first) > 0 && isExclusive(c.first[0]) {
		op := c.first[0]
		c.first = pop(c.first)
		return []operation{op}, 0, true
	}
	maxOps := maxGroupOps
	if c.cautious {
		maxOps = 1 // what doesn't fit together may fit alone
	}
	// Each kind has its share, and they begin by turns: a group that takes long is cut off.
	appends := group{maxOps: maxOps, maxBytes: maxGroupBytes}
	if len(c.first) > 0 {
		appends = group{maxOps: maxOps / appendShare, maxBytes: maxGroupBytes / appendShare}
	}
	if len(c.appends) > 0 && c.space.low() != nil { // what is queued would take the room for settles
		c.refuseAppends()
	}
	c.takeAppends(&appends, now)
	others := group{maxOps: maxOps - len(appends.ops), maxBytes: maxGroupBytes - maxGroupBytes/appendShare}
	for len(c.first) > 0 && !isExclusive(c.first[0]) && others.add(c.first[0]) {
		c.first = pop(c.first)
	}
	if c.appendsBegin = !c.appendsBegin; c.appendsBegin {
		ops = append(appends.ops, others.ops...)
	} else {
		ops = append(others.ops, appends.ops...)
	}
	rest := group{ops: ops, bytes: appends.bytes + others.bytes, maxOps: maxOps, maxBytes: maxGroupBytes}
	c.takeAppends(&rest, now)
	ops = rest.ops
	return ops, 0, len(ops) > 0 || !c.closing
}

// refuseAppends empties the queue of appends. c.mu is held.
func (c *committer) refuseAppends() {
	for _, op := range c.appends {
		op.finish(db.ErrStorageFull)
	}
	c.appends, c.bytes = nil, 0
}

// takeAppends moves appends into a group, and refuses those that have waited too long.
// c.mu is held.
func (c *committer) takeAppends(g *group, now time.Time) {
	for len(c.appends) > 0 {
		op := c.appends[0]
		late := now.Sub(op.since()) > maxAppendWait
		if !late && !g.add(op) {
			return
		}
		c.appends = pop(c.appends)
		c.bytes -= op.size()
		if late {
			op.finish(db.ErrOverloaded)
		}
	}
}

// group is the operations of the next transaction, and its bounds.
type group struct {
	ops              []operation
	bytes            int
	maxOps, maxBytes int
}

// add reports whether op fits. The first one always does, unless the group has no room at all.
func (g *group) add(op operation) bool {
	if len(g.ops) >= g.maxOps || len(g.ops) > 0 && g.bytes+op.size() > g.maxBytes {
		return false
	}
	g.ops, g.bytes = append(g.ops, op), g.bytes+op.size()
	return true
}

// isExclusive reports whether op wants a transaction of its own, without foreign keys.
func isExclusive(op operation) bool {
	a, ok := op.(interface{ exclusive() bool })
	return ok && a.exclusive()
}

// pop drops the first element and lets go of a queue's memory once it is empty.
func pop(q []operation) []operation {
	q[0] = nil
	if q = q[1:]; len(q) == 0 {
		return nil
	}
	return q
}

// back puts operations that were taken and not executed in front again.
func (c *committer) back(ops []operation) {
	if len(ops) == 0 {
		return
	}
	if err := c.failedWith(); err != nil {
		c.refuse(ops, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var first, appends []operation
	for _, op := range ops {
		if op.retriedWhenFull() {
			first = append(first, op)
		} else {
			appends = append(appends, op)
			c.bytes += op.size()
		}
	}
	c.first = append(first, c.first...)
	c.appends = append(appends, c.appends...)
}

// commit brings ops to their end: committed, refused, kept for later, or answered
// with the failure that ends the process.
//
//	own error of one      the group runs again with savepoints; that one gets its error
//	transaction ended     the one that did it gets the error; those before it run again
//	                      without it, those after it are the next group
//	constraint or virtual
//	table at COMMIT       it isn't known whose: each half runs again alone
//	another writer        wait and try again; appends are refused after a while
//	disk full             appends are refused, the others kept
//	I/O error             run again once, then everything is refused and the process ends
//	I/O error at COMMIT   ErrOutcomeUnknown for all, and the process ends
//	damaged, moved away,
//	fenced                everything is refused and the process ends
func (c *committer) commit(ops []operation, careful bool) {
	again := false
	for tries := 0; len(ops) > 0; tries++ {
		if err := c.failedWith(); err != nil {
			c.refuse(ops, err)
			return
		}
		done, at, err := c.w.transaction(ops, careful)
		if err == nil {
			c.succeed(ops[:done])
			c.back(ops[done:])
			return
		}
		ge, ok := errors.AsType[*groupError](err)
		if !ok {
			ge = &groupError{classIO, err}
		}
		switch ge.class {
		case classWithSavepoints:
			careful = true
		case classOwn:
			if half := len(ops) / 2; half > 0 {
				c.commit(ops[:half:half], careful)
				ops = ops[half:]
				continue
			}
			if tries > maxExclusions {
				c.fail(ge.err)
				continue
			}
			ops[0].exclude(ge.err)
		case classTxAborted:
			ops[at].exclude(ge.err)
			careful = true
			if at+1 < len(ops) {
				c.commit(ops[:at+1:at+1], careful)
				ops = ops[at+1:]
			}
		case classBusy:
			c.busy(ops)
			return
		case classFull:
			c.full(ops, ge)
			return
		case classIO:
			unknown := errors.Is(ge.err, db.ErrOutcomeUnknown)
			if !unknown && !again {
				c.log.Warn("a write failed and is tried again", "error", ge.err.Error())
				again = true
				continue
			}
			c.fail(ge.err)
			if unknown {
				c.refuse(ops, db.ErrOutcomeUnknown)
			} else {
				c.refuse(ops, db.ErrUnavailable)
			}
			return
		case classCorrupt:
			c.fail(fmt.Errorf("%w: %w", db.ErrCorrupt, ge.err))
			c.refuse(ops, db.ErrUnavailable)
			return
		case classFenced:
			c.fail(ge.err)
			c.refuse(ops, c.failedWith())
			return
		}
	}
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

func (c *committer) succeed(ops []operation) {
	c.mu.Lock()
	c.fullUntil, c.cautious = time.Time{}, false
	c.mu.Unlock()
	c.notify(c.w.published, c.w.settled)
	for _, op := range ops {
		op.finish(nil)
	}
}

// busy puts ops back when somebody else holds the write lock: take refuses the
// appends that have waited too long, the others wait as long as it takes.
func (c *committer) busy(ops []operation) {
	c.back(ops)
	c.mu.Lock()
	first := !c.cautious
	c.cautious = true
	c.mu.Unlock()
	if first {
		c.log.Warn("another connection holds the database's write lock; waiting for it")
	}
}

// tidy keeps a WAL from growing into the room that is kept for settles.
func (c *committer) tidy() {
	if c.space.low() == nil || !c.w.longWAL() || c.failedWith() != nil {
		return
	}
	if err := c.w.conn.ShrinkWAL(); err != nil {
		c.log.Warn("the WAL can't be moved into the file", "error", err.Error())
	}
}

func (c *committer) full(ops []operation, err error) {
	c.log.Error("the disk is full: events are refused until there is room", "error", err.Error())
	if err := c.w.conn.ShrinkWAL(); err != nil {
		c.log.Warn("the WAL can't be moved into the file", "error", err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fullUntil, c.cautious = time.Now().Add(fullRetryAfter), true
	keep := c.failure == nil && !c.closing
	for _, op := range ops {
		if op.retriedWhenFull() && keep {
			c.first = append(c.first, op) // behind those that may fit
		} else {
			op.finish(db.ErrStorageFull)
		}
	}
}

func (c *committer) refuse(ops []operation, err error) {
	for _, op := range ops {
		op.finish(err)
	}
}

// end makes the process end although no write has failed.
func (c *committer) end(err error) {
	c.fail(err)
	select {
	case c.wake <- struct{}{}:
	default:
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
	c.refuse(waiting, refusal)
}

// close ends the goroutine after everything taken has been answered.
func (c *committer) close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}
