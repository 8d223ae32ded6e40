package commit

import (
	"slices"
	"time"

	"inturn/db"
)

const (
	// maxPersonWait is how long an operation of a person waits where nothing can be written.
	// It is seen at the next try, up to a second later.
	maxPersonWait = time.Second
	// probeEvery is how often the write lock is tried while nothing waits for it.
	probeEvery = 100 * time.Millisecond
)

// locked says that another connection holds the write lock, from the first transaction
// that could not begin to the next that commits.
type locked struct {
	since  time.Time // zero: none does
	holder string
}

// err returns why an operation that waited too long was not executed.
func (l locked) err() error {
	if l.since.IsZero() {
		return db.ErrOverloaded
	}
	return &db.LockedError{Holder: l.holder}
}

// long reports whether the lock has been held for so long that appends are refused, or will
// be.
func (l locked) long() bool { return !l.since.IsZero() && time.Since(l.since) > MaxAppendWait/2 }

// busy puts ops back when another connection holds the write lock: take refuses the appends
// that have waited too long, a person's operations are refused here, the others wait as long
// as it takes.
func (c *Committer[W]) busy(ops []*Op[W]) {
	c.back(ops)
	holder := c.store.Holder()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cautious = true
	l := &c.queue.locked
	if first := l.since.IsZero(); first || l.holder != holder {
		if first {
			l.since = time.Now()
		}
		l.holder = holder
		c.log.Warn("another connection holds the database's write lock; waiting for it", "holder", holder)
	}
	c.queue.refusePersons(l.err())
}

// unlocked notes that a transaction has begun. c.mu is held.
func (c *Committer[W]) unlocked() {
	if held := c.queue.locked; !held.since.IsZero() {
		c.queue.locked = locked{}
		c.log.Info("the database's write lock is free again", "held", time.Since(held.since).Round(time.Millisecond), "holder", held.holder)
	}
}

// probe tries whether the write lock is free where it was not: Ready would else go on to
// say that it is held while nothing is to be written.
func (c *Committer[W]) probe() {
	c.mu.Lock()
	held := !c.queue.locked.since.IsZero()
	c.mu.Unlock()
	if !held {
		return
	}
	c.guard.Lock()
	free := c.store.TryLock()
	c.guard.Unlock()
	if free {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cautious = false
		c.unlocked()
	}
}

// refusePersons ends the operations of persons that have waited for long. why is the reason
// why nothing is written.
func (q *queue[W]) refusePersons(why error) {
	q.first = slices.DeleteFunc(q.first, func(op *Op[W]) bool {
		late := op.Person && time.Since(op.Began) > maxPersonWait
		if late {
			op.finish(why)
		}
		return late
	})
}
