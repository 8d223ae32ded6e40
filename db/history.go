package db

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
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
	next  atomic.Int64 // the next event's seq
	wake  chan struct{}
	done  chan struct{} // closed when run has ended

	mu      sync.Mutex
	filed   int64          // history has every event up to this seq
	unfiled []q.UnfiledRow // those beyond it that were committed, in order; also deleted ones
}

// newFiler reads what was not filed when the file was opened.
func newFiler(ctx context.Context, d *DB, next int64) (*filer, error) {
	f := &filer{db: d, batch: fileBatch, wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.next.Store(next)
	filed, err := d.reads.Filed(ctx)
	if err != nil {
		return nil, fmt.Errorf("read owner: %w", err)
	}
	f.filed = filed
	for {
		rows, err := d.reads.Unfiled(ctx, q.UnfiledParams{Filed: filed, Page: fileBatch})
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		f.unfiled = append(f.unfiled, rows...)
		if len(rows) < fileBatch {
			if f.behind() {
				f.wake <- struct{}{}
			}
			return f, nil
		}
		filed = rows[len(rows)-1].Seq
	}
}

// appended tells what was committed, and that seqs below nextSeq are. It does not block.
func (f *filer) appended(events []Event, nextSeq int64) {
	f.next.Store(nextSeq)
	f.mu.Lock()
	for i := range events {
		f.unfiled = append(f.unfiled, q.UnfiledRow{Seq: events[i].Seq, ClientID: events[i].ClientID})
	}
	f.mu.Unlock()
	if !f.behind() {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// behind reports whether there is a whole batch to file.
func (f *filer) behind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.unfiled) >= f.batch
}

// filedUpTo is the seq up to which history has every event.
func (f *filer) filedUpTo() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.filed
}

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
	err := f.write()
	if err != nil {
		f.db.log.Debug("events are not filed into their accounts' history", "error", err.Error())
	}
	return err == nil
}

// write writes a batch in the order of history's key.
func (f *filer) write() error {
	if err := f.db.committer.space.low(); err != nil {
		return err // the room is kept for settles
	}
	f.mu.Lock()
	rows := slices.Clone(f.unfiled[:f.batch])
	f.mu.Unlock()
	upTo := rows[len(rows)-1].Seq
	slices.SortFunc(rows, func(a, b q.UnfiledRow) int {
		return cmp.Or(cmp.Compare(a.ClientID, b.ClientID), cmp.Compare(a.Seq, b.Seq))
	})
	for chunk := range slices.Chunk(rows, fileChunk) {
		if err := f.submit(&fileOp{rows: chunk, caller: newCaller()}); err != nil {
			return err
		}
	}
	return f.submit(&fileOp{filer: f, upTo: upTo, caller: newCaller()})
}

func (f *filer) submit(op *fileOp) error {
	if err := f.db.committer.submit(op); err != nil {
		return err
	}
	<-op.done
	return op.err
}

// filedTo forgets what stands in history now.
func (f *filer) filedTo(seq int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(f.unfiled) && f.unfiled[n].Seq <= seq {
		n++
	}
	f.filed, f.unfiled = seq, slices.Clone(f.unfiled[n:]) // a clone, to let go of the names
}

// fileOp writes a part of a batch. A batch that is broken off is begun again: rows
// that are there already stay as they are.
type fileOp struct {
	caller
	rows  []q.UnfiledRow
	filer *filer // of the op that ends a batch
	upTo  int64  // then: history is complete up to here
	w     *writer
}

func (o *fileOp) exec(w *writer) error {
	o.w = w
	if o.err = o.excluded; o.err != nil {
		return nil
	}
	own, group := w.try(func() error {
		for _, r := range o.rows {
			if err := w.file(r); err != nil {
				return fmt.Errorf("file event: %w", err)
			}
		}
		if o.filer == nil {
			return nil
		}
		return w.q.SaveFiled(background, o.upTo)
	})
	o.err = own
	return group
}

func (o *fileOp) finish(err error) {
	if err == nil && o.err == nil && o.filer != nil {
		o.w.filedTo(o.upTo)
		o.filer.filedTo(o.upTo)
	}
	o.caller.finish(err)
}

func (o *fileOp) patient() bool { return true }
func (o *fileOp) size() int     { return 64 * (len(o.rows) + 1) }

// file writes one row of history. What memory says was appended may have been deleted.
func (w *writer) file(r q.UnfiledRow) error {
	if _, maybe := w.gone[r.Seq]; maybe {
		return w.q.FileEventIfKept(background, r.Seq)
	}
	return w.hot.fileEvent(q.FileEventParams{ClientID: r.ClientID, Seq: r.Seq})
}

// deleted notes that an event was, or, where its transaction is undone, may have been.
func (w *writer) deleted(seq int64) {
	if seq > w.filed {
		w.gone[seq] = struct{}{}
	}
}

// filedTo is called after the commit.
func (w *writer) filedTo(seq int64) {
	w.filed = seq
	maps.DeleteFunc(w.gone, func(s int64, _ struct{}) bool { return s <= seq })
}
