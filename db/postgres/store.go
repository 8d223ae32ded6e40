package postgres

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
)

// store is the commit.Store of the writer.
type store struct {
	*writer
	notify func(*delta)
	d      *delta // of the last transaction
}

// Bounds of a group.
const (
	maxSettles   = 256 // accounts
	maxConflicts = 8   // times that an operation alone is tried
)

// Transaction commits as many of ops as fit in one group. There are no savepoints: the one
// that fails ends the transaction, and the others run again.
func (s *store) Transaction(ops []*op, _ bool) (n int, err error) {
	ops = together(ops)
	for tries := 1; ; tries++ {
		err = s.transaction(ops)
		if err == nil {
			return len(ops), nil
		}
		if !conflict(err) || len(ops) > 1 || tries == maxConflicts {
			break
		}
	}
	ge, ok := errors.AsType[*groupError](err)
	if !ok {
		return 0, &commit.Error{Class: classify(err), Err: err}
	}
	if n = slices.Index(ops, ge.of); n >= 0 && ge.is.Class == commit.Own {
		ge.is.Class = commit.TxAborted
	}
	return max(n, 0), &ge.is
}

// together returns the first of ops that can be a group: each account's work is in it once.
func together(ops []*op) []*op {
	accounts := map[string]struct{}{}
	for i, o := range ops {
		account := o.Work.account()
		if account == "" {
			continue
		}
		if _, twice := accounts[account]; twice || len(accounts) == maxSettles {
			return ops[:i]
		}
		accounts[account] = struct{}{}
	}
	return ops
}

// transaction commits ops together. On an error nothing is written.
func (s *store) transaction(ops []*op) (err error) {
	begun := time.Now()
	if err := s.reserve(); err != nil {
		return err
	}
	s.d = s.memory.begin()
	if _, ok := ops[0].Work.(*soloOp); ok {
		err = ops[0].Run(func(int) (own, group error) {
			err := s.solo(ops[0], s.d)
			r, refused := errors.AsType[refusal](err)
			if !refused {
				return nil, err
			}
			s.d = s.memory.begin()
			return r.error, s.rollback()
		})
	} else {
		err = newGroup(s.writer, s.d, ops).execute()
	}
	if err != nil {
		if rerr := s.rollback(); rerr != nil && !errors.Is(err, db.ErrOutcomeUnknown) && !errors.Is(err, db.ErrFenced) {
			err = failure(commit.IO, nil, fmt.Errorf("roll back: %w (after: %w)", rerr, err))
		}
		return err
	}
	s.observer.Committed(len(ops), true, time.Since(begun))
	for _, typ := range s.d.dead {
		s.observer.Dead(typ)
	}
	return nil
}

// Committed makes the transaction's changes those of memory, and announces the changes.
func (s *store) Committed() {
	s.d.commit()
	s.notify(s.d)
}

// Tidy does nothing: PostgreSQL has a checkpointer of its own.
func (s *store) Tidy() {}

// Room returns nil: how much room there is only the server knows.
func (s *store) Room() error { return nil }

// Full does nothing: the room is the server's.
func (s *store) Full(error) {}

// Holder and TryLock are never asked: no other connection holds what a writer needs for long.
func (s *store) Holder() string { return "" }
func (s *store) TryLock() bool  { return true }
