package commit

import (
	"errors"
	"fmt"
	"time"

	"inturn/db"
)

// maxExclusions bounds what is left out of one operation; it is more than an operation has
// steps, so that nothing is tried for ever.
const maxExclusions = 4096

// commit brings ops to their end: committed, refused, kept for later, or answered
// with the failure that ends the process.
//
//	WithSavepoints     the group runs again with savepoints; the one that fails gets its error
//	TxAborted          the one that did it gets the error; those before it run again
//	                   without it, those after it are the next group
//	Own (at COMMIT)    it isn't known whose: each half runs again alone
//	Busy               wait and try again; appends are refused after a while
//	Full               appends are refused, the others kept
//	IO                 run again once, then everything is refused and the process ends
//	IO at COMMIT       ErrOutcomeUnknown for all, and the process ends
//	Corrupt, Fenced    everything is refused and the process ends
func (c *Committer[W]) commit(ops []*Op[W], savepoints bool) {
	again := false
	for tries := 0; len(ops) > 0; tries++ {
		if err := c.failedWith(); err != nil {
			finish(ops, err)
			return
		}
		n, err := c.store.Transaction(ops, savepoints)
		if err == nil {
			c.succeed(ops[:n])
			c.back(ops[n:])
			return
		}
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = &Error{IO, err}
		}
		switch e.Class {
		case WithSavepoints:
			savepoints = true
		case TxAborted:
			ops[n].exclude(e.Err)
			savepoints = true
			if n+1 < len(ops) {
				c.commit(ops[:n+1:n+1], savepoints)
				ops = ops[n+1:]
			}
		case Own:
			if half := len(ops) / 2; half > 0 {
				c.commit(ops[:half:half], savepoints)
				ops = ops[half:]
				continue
			}
			if tries > maxExclusions {
				c.fail(e.Err)
				continue
			}
			ops[0].exclude(e.Err)
		case Busy:
			c.busy(ops)
			return
		case Full:
			c.full(ops, e)
			return
		case IO:
			if unknown := errors.Is(e.Err, db.ErrOutcomeUnknown); unknown || again {
				c.failAll(ops, e.Err, unknown)
				return
			}
			c.log.Warn("a write failed and is tried again", "error", e.Err.Error())
			again = true
		case Corrupt:
			c.failAll(ops, fmt.Errorf("%w: %w", db.ErrCorrupt, e.Err), false)
			return
		case Fenced:
			c.failAll(ops, e.Err, false)
			return
		}
	}
}

// back puts operations that were taken and not executed in front again.
func (c *Committer[W]) back(ops []*Op[W]) {
	if len(ops) == 0 {
		return
	}
	if err := c.failedWith(); err != nil {
		finish(ops, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue.back(ops)
}

// failedWith returns what to tell once the process must end, else nil.
func (c *Committer[W]) failedWith() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		return nil
	}
	return c.refusal()
}

func (c *Committer[W]) succeed(ops []*Op[W]) {
	c.mu.Lock()
	c.fullUntil, c.cautious = time.Time{}, false
	c.unlocked()
	c.mu.Unlock()
	c.store.Committed()
	finish(ops, nil)
}

// full postpones what is retried when the disk is full, and refuses the appends.
func (c *Committer[W]) full(ops []*Op[W], err error) {
	c.store.Full(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fullUntil, c.cautious = time.Now().Add(fullRetryAfter), true
	keep := c.failure == nil && !c.closing
	for _, op := range ops {
		if op.RetriedWhenFull && keep {
			c.queue.first = append(c.queue.first, op) // behind those that may fit
		} else {
			op.finish(db.ErrStorageFull)
		}
	}
	c.queue.refusePersons(db.ErrStorageFull)
}

// failAll ends the process, and refuses ops as everything else, unless it is unknown whether
// they were written.
func (c *Committer[W]) failAll(ops []*Op[W], err error, unknown bool) {
	c.fail(err)
	if unknown {
		finish(ops, db.ErrOutcomeUnknown)
	} else {
		finish(ops, c.failedWith())
	}
}

// fail records why the process must end and refuses what waits.
func (c *Committer[W]) fail(err error) {
	c.mu.Lock()
	if c.failure != nil {
		c.mu.Unlock()
		return
	}
	c.failure = err
	refusal := c.refusal()
	waiting := c.queue.empty()
	c.mu.Unlock()
	close(c.failed)
	finish(waiting, refusal)
}
