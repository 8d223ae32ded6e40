package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// waiters are the calls of Wait that have not returned, by the event they wait for.
type waiters struct {
	n      atomic.Int64 // spares the committer the lock while nobody waits
	last   atomic.Int64 // no event with a greater seq is settled
	mu     sync.Mutex
	bySeq  map[int64][]chan settled // of cap 1; closed without a result by close
	closed bool
}

// Wait returns how the event with this seq ended, once it is settled; ErrNotFound if
// it is deleted instead, or was, ctx's error if that ends first, or ErrClosed, also where stop
// is closed first (nil: it never is).
func (d *DB) Wait(ctx context.Context, seq int64, stop <-chan struct{}) (*db.Result, error) {
	ch, leave, err := d.waiters.join(seq)
	if err != nil {
		return nil, err
	}
	defer leave()
	if seq <= d.waiters.last.Load() { // it may have been settled, or deleted, before we joined
		switch r, err := d.endOf(ctx, seq); {
		case err != nil:
			return nil, err
		case r != nil:
			return r, nil
		}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-stop:
		return nil, db.ErrClosed
	case r, ok := <-ch:
		switch {
		case !ok:
			return nil, db.ErrClosed
		case r.status == "":
			return nil, db.ErrNotFound
		}
		return r.result(), nil
	}
}

// endOf returns how the event with this seq ended, nil if it is still to end, and
// db.ErrNotFound if it is not kept any more.
func (r *reader) endOf(ctx context.Context, seq int64) (*db.Result, error) {
	found, err := r.Result(ctx, seq)
	if err != nil || found != nil {
		return found, err
	}
	var n int
	err = r.row(ctx, "SELECT 1 FROM outbox WHERE seq = $1", []any{seq}, &n)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, db.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("look for result: %w", err)
	}
	return nil, nil
}

func (w *waiters) join(seq int64) (ch chan settled, leave func(), err error) {
	ch = make(chan settled, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nil, db.ErrClosed
	}
	if w.bySeq == nil {
		w.bySeq = map[int64][]chan settled{}
	}
	w.bySeq[seq] = append(w.bySeq[seq], ch)
	w.n.Add(1)
	return ch, func() { w.leave(seq, ch) }, nil
}

func (w *waiters) leave(seq int64, ch chan settled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.bySeq[seq]
	for i, c := range list {
		if c == ch {
			w.n.Add(-1)
			if list = append(list[:i], list[i+1:]...); len(list) == 0 {
				delete(w.bySeq, seq)
			} else {
				w.bySeq[seq] = list
			}
			return
		}
	}
}

// settled hands each of results to the calls that wait for it. Only the committer calls it.
func (w *waiters) settled(results []settled) {
	last := w.last.Load()
	for i := range results {
		last = max(last, results[i].seq)
	}
	w.last.Store(last) // before n is read: a Wait that joins later sees it
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range results {
		seq := results[i].seq
		for _, ch := range w.bySeq[seq] {
			ch <- results[i]
			w.n.Add(-1)
		}
		delete(w.bySeq, seq)
	}
}

func (w *waiters) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, list := range w.bySeq {
		for _, ch := range list {
			close(ch)
			w.n.Add(-1)
		}
	}
	clear(w.bySeq)
}
