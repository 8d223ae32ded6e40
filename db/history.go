package db

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"inturn/db/internal/q"
)

// Filing bounds. A batch is sorted as a whole, so the larger it is, the fewer pages
// each event dirties; what waits for it is scanned by whoever lists an account.
const (
	fileBatch = 16384 // events
	fileChunk = 256   // of them in one operation: about a millisecond of the committer
)

// filer writes what was appended into history, behind the appends.
type filer struct {
	db    *DB
	batch int
	filed atomic.Int64 // history has every event up to this seq
	next  atomic.Int64 // the next event's seq
	wake  chan struct{}
	done  chan struct{} // closed when run has ended
}

func newFiler(d *DB, filed, next int64) *filer {
	f := &filer{db: d, batch: fileBatch, wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.filed.Store(filed)
	f.next.Store(next)
	return f
}

// appended tells that seqs below nextSeq are committed. It does not block.
func (f *filer) appended(nextSeq int64) {
	f.next.Store(nextSeq)
	if !f.behind() {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// behind reports whether there is a whole batch to file.
func (f *filer) behind() bool { return f.next.Load()-f.filed.Load() > int64(f.batch) }

// run is the filer's goroutine. It ends after the committer.
func (f *filer) run() {
	defer close(f.done)
	for {
		select {
		case <-f.db.committer.done:
			return
		case <-f.wake:
		}
		for f.behind() && f.file() {
		}
	}
}

// file writes a batch and reports whether it could. Where it can't nothing is lost:
// listing scans a little further until it works again.
func (f *filer) file() bool {
	n, err := f.write()
	if err != nil {
		f.db.log.Debug("events are not filed into their accounts' history", "error", err.Error())
	}
	return err == nil && n > 0
}

// write writes up to a batch in the order of history's key, and returns how many.
func (f *filer) write() (int, error) {
	if err := f.db.committer.space.low(); err != nil {
		return 0, err // the room is kept for settles
	}
	next := f.next.Load()
	rows, err := f.unfiled()
	if err != nil {
		return 0, err
	}
	if len(rows) == 0 { // all of them were deleted
		f.filed.Store(next - 1)
		return 0, nil
	}
	written := len(rows)
	upTo := rows[len(rows)-1].Seq
	slices.SortFunc(rows, func(a, b q.UnfiledRow) int {
		return cmp.Or(cmp.Compare(a.ClientID, b.ClientID), cmp.Compare(a.Seq, b.Seq))
	})
	for len(rows) > 0 {
		n := min(fileChunk, len(rows))
		op := &fileOp{rows: rows[:n], caller: newCaller()}
		if rows = rows[n:]; len(rows) == 0 {
			op.upTo = upTo
		}
		if err := f.db.committer.submit(op); err != nil {
			return 0, err
		}
		<-op.done
		if op.err != nil {
			return 0, op.err
		}
	}
	f.filed.Store(upTo)
	return written, nil
}

func (f *filer) unfiled() ([]q.UnfiledRow, error) {
	ctx, cancel := context.WithTimeout(background, readTime)
	defer cancel()
	f.db.guard.Lock()
	defer f.db.guard.Unlock()
	rows, err := f.db.reads.Unfiled(ctx, q.UnfiledParams{Filed: f.filed.Load(), Page: int64(f.batch)})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return rows, nil
}

// fileOp writes a part of a batch. A batch that is broken off is begun again: rows
// that are there already stay as they are.
type fileOp struct {
	caller
	rows []q.UnfiledRow
	upTo int64 // with the last part: history is now complete up to here
}

func (o *fileOp) exec(w *writer) error {
	if o.err = o.excluded; o.err != nil {
		return nil
	}
	own, group := w.try(func() error {
		for _, r := range o.rows {
			if err := w.hot.fileEvent(r.Seq); err != nil {
				return fmt.Errorf("file event: %w", err)
			}
		}
		if o.upTo == 0 {
			return nil
		}
		return w.q.SaveFiled(background, o.upTo)
	})
	o.err = own
	return group
}

func (o *fileOp) patient() bool { return true }
func (o *fileOp) size() int     { return 64 * len(o.rows) }
