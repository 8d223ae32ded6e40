package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// operation is one caller's write. Only the committer's goroutine calls it, and a
// caller reads its outcome after finish.
type operation interface {
	// exec does the writes inside the group's transaction. It may be called again
	// when the group is re-run, and starts afresh each time. What concerns only the
	// operation itself is kept in it; an error concerns the group (*groupError).
	exec(w *writer) error
	// exclude leaves out, from now on, what exec was doing when the group ended;
	// err is its outcome.
	exclude(err error)
	// finish tells the caller: nil after the commit, else why nothing was written.
	finish(err error)
	// retriedWhenFull operations survive a full disk: they are kept and tried again.
	retriedWhenFull() bool
	// since is when it began to wait.
	since() time.Time
	// size is about what the operation adds to the file, in bytes.
	size() int
}

// caller is the part of an operation by which a goroutine waits for its end.
type caller struct {
	err      error // its own outcome
	excluded error // why it is left out of the group
	began    time.Time
	done     chan struct{}
}

func newCaller() caller { return caller{began: time.Now(), done: make(chan struct{})} }

func (c *caller) since() time.Time { return c.began }

func (c *caller) exclude(err error) { c.excluded = err }

func (c *caller) finish(err error) {
	if err != nil {
		c.err = err
	}
	close(c.done)
}

// writer is the only write connection and what belongs to it. Only the committer's
// goroutine uses it, and its executor while that goroutine waits.
type writer struct {
	ownership
	q        *q.Queries
	hot      hot
	observer db.Observer
	events   eventLog
	log      *slog.Logger
	limits   limits
	check    db.Check

	writerState
	effectStmts   map[string]*conn.Stmt
	rare          keptStatements
	erasing       *erasing
	flusher       *flusher
	executor      *executor
	executorTimer *time.Timer

	withSavepoints bool  // savepoints stand around what may fail
	now            int64 // Unix microseconds, of this group
}

type limits struct {
	pending, accountPending int           // 0: none
	effect                  time.Duration // that one effect may take
}

// background is the committer's context. It is never cancelled: cancelling a
// statement inside a transaction would roll the whole group back.
var background = context.Background()

// maxGroupTime bounds how long a group executes before it commits, so that an operation
// does not wait for the work of too many others before its fsync.
const maxGroupTime = 10 * time.Millisecond

// transaction runs ops as one transaction with one commit, and returns how many it took.
// On an error nothing is written, and at is the operation in which it happened, or -1.
func (w *writer) transaction(ops []operation, withSavepoints bool) (done, at int, err error) {
	w.withSavepoints = withSavepoints
	begun := time.Now()
	w.conn.Synced()
	if len(ops) == 1 && isExclusive(ops[0]) {
		if err := w.conn.Exec("PRAGMA foreign_keys = OFF"); err != nil {
			return 0, -1, w.groupErr("foreign keys", err)
		}
		defer func() { // once the transaction has ended; inside one it does nothing
			if ferr := w.conn.Exec("PRAGMA foreign_keys = ON"); ferr != nil {
				err = &groupError{classIO, fmt.Errorf("foreign keys: %w", errors.Join(db.ErrOutcomeUnknown, ferr, err))}
			}
		}()
	}
	w.writerState.reset()
	start := w.writerState.savepoint()
	defer func() {
		if err != nil {
			w.writerState.rollback(start)
			if rerr := w.conn.Rollback(); rerr != nil {
				err = &groupError{classIO, fmt.Errorf("roll back: %w (after: %w)", rerr, err)}
			}
		}
	}()
	if err := w.conn.Begin(); err != nil {
		return 0, -1, w.groupErr("begin", err)
	}
	epoch, err := w.hot.readEpoch()
	if err != nil {
		return 0, -1, w.groupErr("read owner", err)
	}
	if epoch != w.epoch {
		return 0, -1, &groupError{classFenced, fmt.Errorf("%w (epoch %d, ours is %d)", db.ErrFenced, epoch, w.epoch)}
	}
	if err := w.place.Check(); err != nil {
		return 0, -1, &groupError{classFenced, err}
	}
	if done, err = w.execute(ops); err != nil {
		return 0, done, err
	}
	if w.nextSeq != start.nextSeq || w.nextSettled != start.nextSettled || w.pending != start.pending {
		err := w.hot.saveCounters(q.SaveCountersParams{NextSeq: w.nextSeq, NextSettled: w.nextSettled, Pending: int64(w.pending)})
		if err != nil {
			return 0, -1, w.groupErr("save counters", err)
		}
	}
	if err := w.conn.Commit(); err != nil {
		ge := w.groupErr("commit", err)
		switch kind := conn.KindOf(err); {
		case kind == conn.Constraint, kind == conn.Virtual:
			ge.class = classOwn // a deferred foreign key, or rows of a virtual table, of some operation's effect
		case ge.class == classIO:
			// Frames may have reached the disk although the sync failed.
			ge.err = fmt.Errorf("%w: %w", db.ErrOutcomeUnknown, ge.err)
		}
		return 0, -1, ge
	}
	w.observer.Committed(done, w.conn.Synced(), time.Since(begun))
	for _, typ := range w.dead {
		w.observer.Dead(typ)
	}
	return done, -1, nil
}

// groupErr is for the group's own statements, which have no error of their own: one
// that isn't known is the storage's.
func (w *writer) groupErr(what string, err error) *groupError {
	class := classify(w.conn, err)
	if class == classOwn {
		class = classIO
	}
	return &groupError{class, fmt.Errorf("%s: %w", what, err)}
}

// refusal is an operation's own error that came before it wrote anything, so that
// nothing need be undone.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// try runs fn so that its failure leaves no trace and no neighbour is concerned.
// own is fn's own error, after its writes were undone. group means that the group
// can't go on; without savepoints every failure does that, and the group then runs
// again with savepoints.
func (w *writer) try(fn func() error) (own, group error) {
	if !w.withSavepoints {
		err := fn()
		if r, ok := err.(refusal); ok || err == nil {
			return r.error, nil
		}
		if errors.Is(err, db.ErrEffectTooSlow) {
			return nil, w.concerns(err, classTxAborted) // once is enough
		}
		return nil, w.concerns(err, classWithSavepoints)
	}
	k := w.writerState.savepoint()
	if err := w.conn.Exec("SAVEPOINT op"); err != nil {
		return nil, w.groupErr("savepoint", err)
	}
	err := fn()
	if r, ok := err.(refusal); ok || err == nil {
		if err := w.conn.Exec("RELEASE op"); err != nil {
			return nil, w.groupErr("release", err)
		}
		return r.error, nil
	}
	if ge := w.concerns(err, classOwn); ge.class != classOwn {
		return nil, ge
	}
	w.writerState.rollback(k)
	// Nothing may run before this has worked: in a transaction that is gone the next
	// statement would commit alone.
	if rerr := w.conn.Exec("ROLLBACK TO op"); rerr != nil {
		return nil, &groupError{classTxAborted, err}
	}
	if rerr := w.conn.Exec("RELEASE op"); rerr != nil {
		return nil, w.groupErr("release", rerr)
	}
	return err, nil
}

// concerns sorts fn's error; one that is fn's own gets class own.
func (w *writer) concerns(err error, own class) *groupError {
	if ge, ok := errors.AsType[*groupError](err); ok {
		return ge
	}
	class := classify(w.conn, err)
	if class == classOwn || class == classBusy { // the write lock is ours
		if class = own; !w.conn.InTransaction() {
			class = classTxAborted
		}
	}
	return &groupError{class, err}
}

// close frees the connection and what hangs from it.
func (w *writer) close() error {
	close(w.executor.groups)
	for _, s := range w.effectStmts {
		s.Close()
	}
	w.rare.close()
	w.hot.close()
	var err error
	if w.q != nil {
		err = w.q.Close()
	}
	return errors.Join(err, w.conn.Close())
}
