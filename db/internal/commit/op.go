package commit

import "time"

// Op is one caller's write. The caller fills in the exported fields that say what it is,
// submits it once, and reads Done, Err and what Work has kept once it has ended.
type Op[W any] struct {
	Work  W   // what it does, as the Store understands it
	Steps int // of Work, each of which fails for itself and ends the operation; 0: one

	Size            int       // about what it adds to the store, in bytes
	RetriedWhenFull bool      // while the disk is full it is kept and tried again; else it is an append, and refused
	Person          bool      // with RetriedWhenFull: one waits for it, and it is refused after a second in which nothing can be written
	Exclusive       bool      // it has a transaction to itself
	After           func()    // called after the commit, before anything else is executed, if Err is nil; may be nil
	Began           time.Time // when it began to wait; zero: Submit sets it

	Done int   // steps that are done
	Err  error // why the next one is not; or why nothing of the operation is written

	limit    int   // steps from here on are left out
	excluded error // why
	ended    chan struct{}
}

// Ended returns a channel that is closed once the operation has ended, however it did.
func (o *Op[W]) Ended() <-chan struct{} { return o.ended }

// Left returns how many steps are not left out, for a Store that has to know before it runs
// any.
func (o *Op[W]) Left() int { return o.limit }

// Run is for a Store's Transaction: it runs the steps that are not left out, in order, from
// the first one. step returns own, an error of the step alone, after its writes have been
// undone: it ends the operation. Or it returns group, which ends the group, and which Run
// returns.
func (o *Op[W]) Run(step func(i int) (own, group error)) error {
	o.Done, o.Err = 0, o.excluded
	for o.Done < o.limit {
		own, group := step(o.Done)
		if group != nil {
			return group
		}
		if own != nil {
			o.Err = own
			return nil
		}
		o.Done++
	}
	return nil
}

// Limit returns how many steps are not left out: Run does no more.
func (o *Op[W]) Limit() int { return o.limit }

// exclude leaves out, from now on, the step at which the group ended, and what follows it;
// err is its outcome. Where only the COMMIT failed it is the last step, until that succeeds.
func (o *Op[W]) exclude(err error) {
	if o.Done == o.limit {
		o.Done--
	}
	o.limit, o.excluded = max(o.Done, 0), err
}

// finish tells the caller: nil after the commit, else why nothing was written.
func (o *Op[W]) finish(err error) {
	switch {
	case err != nil:
		o.Done, o.Err = 0, err
	case o.Err == nil && o.After != nil:
		o.After()
	}
	close(o.ended)
}
