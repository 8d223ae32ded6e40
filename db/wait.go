package db

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// waiters are those who wait for an event to be settled.
type waiters struct {
	n      atomic.Int64 // spares the committer the lock while nobody waits
	mu     sync.Mutex
	bySeq  map[int64][]chan struct{}
	closed bool
}

// Wait returns nil once the event with this seq is settled; ctx's error if that
// ends first, or ErrClosed.
func (d *DB) Wait(ctx context.Context, seq int64) error {
	ch, leave, err := d.waiters.join(seq)
	if err != nil {
		return err
	}
	defer leave()
	// It may have been settled before we joined.
	d.guard.Lock()
	n, err := d.reads.Settled(ctx, seq)
	d.guard.Unlock()
	if err != nil {
		return fmt.Errorf("look for result: %w", err)
	}
	if n > 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-ch:
		d.waiters.mu.Lock()
		defer d.waiters.mu.Unlock()
		if d.waiters.closed {
			return ErrClosed
		}
		return nil
	}
}

func (w *waiters) join(seq int64) (ch chan struct{}, leave func(), err error) {
	ch = make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nil, ErrClosed
	}
	if w.bySeq == nil {
		w.bySeq = map[int64][]chan struct{}{}
	}
	w.bySeq[seq] = append(w.bySeq[seq], ch)
	w.n.Add(1)
	return ch, func() { w.leave(seq, ch) }, nil
}

func (w *waiters) leave(seq int64, ch chan struct{}) {
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

// settled wakes who waits for one of seqs.
func (w *waiters) settled(seqs []int64) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seq := range seqs {
		w.wake(seq)
	}
}

func (w *waiters) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for seq := range w.bySeq {
		w.wake(seq)
	}
}

// wake is called with mu held.
func (w *waiters) wake(seq int64) {
	for _, ch := range w.bySeq[seq] {
		close(ch)
		w.n.Add(-1)
	}
	delete(w.bySeq, seq)
}
