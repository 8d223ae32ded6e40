package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// operation is one caller's write, as the committer queues it.
type operation = commit.Op[work]

// work is what an operation does inside the group's transaction. It may be called again when
// the group is run again, and starts afresh each time.
type work interface {
	// run does one step of the operation, from 0. A *commit.Error concerns the group.
	run(w *writer, step int) error
}

// workFunc is work of one step.
type workFunc func(w *writer) error

func (fn workFunc) run(w *writer, _ int) error { return fn(w) }

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
	executor      *executor
	executorTimer *time.Timer
	space         *space
	growth        walGrowth
	committed     func() // called after each commit, before its operations are answered

	withSavepoints bool  // savepoints stand around what may fail
	now            int64 // Unix microseconds, of this group
}

// groups is what a committer asks of the writer: see commit.Store.
type groups struct{ *writer }

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

// Transaction runs ops as one transaction with one commit; see commit.Store.
func (w groups) Transaction(ops []*operation, withSavepoints bool) (n int, err error) {
	w.withSavepoints = withSavepoints
	begun := time.Now()
	w.conn.Synced()
	if len(ops) == 1 && ops[0].Exclusive {
		if err := w.conn.Exec("PRAGMA foreign_keys = OFF"); err != nil {
			return 0, w.groupErr("foreign keys", err)
		}
		defer func() { // once the transaction has ended; inside one it does nothing
			if ferr := w.conn.Exec("PRAGMA foreign_keys = ON"); ferr != nil {
				err = &commit.Error{Class: commit.IO, Err: fmt.Errorf("foreign keys: %w", errors.Join(db.ErrOutcomeUnknown, ferr, err))}
			}
		}()
	}
	w.writerState.reset()
	start := w.writerState.savepoint()
	defer func() {
		if err != nil {
			w.writerState.rollback(start)
			if rerr := w.conn.Rollback(); rerr != nil {
				err = &commit.Error{Class: commit.IO, Err: fmt.Errorf("roll back: %w (after: %w)", rerr, err)}
			}
		}
	}()
	if err := w.conn.Begin(); err != nil {
		return 0, w.groupErr("begin", err)
	}
	epoch, err := w.hot.readEpoch()
	if err != nil {
		return 0, w.groupErr("read owner", err)
	}
	if epoch != w.epoch {
		return 0, &commit.Error{Class: commit.Fenced, Err: fmt.Errorf("%w (epoch %d, ours is %d)", db.ErrFenced, epoch, w.epoch)}
	}
	if err := w.place.Check(); err != nil {
		return 0, &commit.Error{Class: commit.Fenced, Err: err}
	}
	if n, err = w.execute(ops); err != nil {
		return n, err
	}
	if w.nextSeq != start.nextSeq || w.nextSettled != start.nextSettled || w.pending != start.pending {
		err := w.hot.saveCounters(q.SaveCountersParams{NextSeq: w.nextSeq, NextSettled: w.nextSettled, Pending: int64(w.pending)})
		if err != nil {
			return 0, w.groupErr("save counters", err)
		}
	}
	if err := w.saveBase(); err != nil {
		return 0, w.groupErr("save base", err)
	}
	if err := w.conn.Commit(); err != nil {
		ge := w.groupErr("commit", err)
		switch kind := conn.KindOf(err); {
		case kind == conn.Constraint, kind == conn.Virtual:
			ge.Class = commit.Own // a deferred foreign key, or rows of a virtual table, of some operation's effect
		case ge.Class == commit.IO:
			// Frames may have reached the disk although the sync failed.
			ge.Err = fmt.Errorf("%w: %w", db.ErrOutcomeUnknown, ge.Err)
		}
		return 0, ge
	}
	w.moved = false
	w.observer.Committed(n, w.conn.Synced(), time.Since(begun))
	for _, typ := range w.dead {
		w.observer.Dead(typ)
	}
	return n, nil
}

// groupErr is for the group's own statements, which have no error of their own: one
// that isn't known is the storage's.
func (w *writer) groupErr(what string, err error) *commit.Error {
	class := classify(w.conn, err)
	if class == commit.Own {
		class = commit.IO
	}
	return &commit.Error{Class: class, Err: fmt.Errorf("%s: %w", what, err)}
}

// refusal is an operation's own error that came before it wrote anything, so that
// nothing need be undone.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// do runs the steps of an operation.
func (w *writer) do(op *operation) error {
	return op.Run(func(i int) (own, group error) {
		return w.try(func() error { return op.Work.run(w, i) })
	})
}

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
			return nil, w.concerns(err, commit.TxAborted) // once is enough
		}
		return nil, w.concerns(err, commit.WithSavepoints)
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
	if ge := w.concerns(err, commit.Own); ge.Class != commit.Own {
		return nil, ge
	}
	w.writerState.rollback(k)
	// Nothing may run before this has worked: in a transaction that is gone the next
	// statement would commit alone.
	if rerr := w.conn.Exec("ROLLBACK TO op"); rerr != nil {
		return nil, &commit.Error{Class: commit.TxAborted, Err: err}
	}
	if rerr := w.conn.Exec("RELEASE op"); rerr != nil {
		return nil, w.groupErr("release", rerr)
	}
	return err, nil
}

// concerns sorts fn's error; one that is fn's own gets class own.
func (w *writer) concerns(err error, own commit.Class) *commit.Error {
	if ge, ok := errors.AsType[*commit.Error](err); ok {
		return ge
	}
	class := classify(w.conn, err)
	if class == commit.Own || class == commit.Busy { // the write lock is ours
		if class = own; !w.conn.InTransaction() {
			class = commit.TxAborted
		}
	}
	return &commit.Error{Class: class, Err: err}
}

// Committed publishes what a commit has done; see commit.Store.
func (w groups) Committed() {
	w.space.wrote()
	w.committed()
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
