package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"inturn/db/internal/commit"
	"inturn/db/sqlite/internal/q"
)

// Bounds of a flush. A batch is sorted as a whole, so the larger it is, the fewer pages
// each event dirties. Events that wait for a batch are scanned when an account is listed.
const (
	flushBatch  = 16384 // events
	flushChunks = 64    // operations that a batch is written in, each about a millisecond of the committer
)

// flusher writes what was appended into history, and what of it is still pending into
// lanes, behind the appends: most events are settled by then. Until then the memtable says
// what is pending.
type flusher struct {
	committer *commit.Committer[work]
	memtable  *memtable
	space     *space
	log       *slog.Logger
	batch     int
	wake      chan struct{}
	done      chan struct{} // closed when run has ended
}

// newFlusher reads into the memtable what was not flushed when the file was opened.
func newFlusher(ctx context.Context, d *DB, batch int) (*flusher, error) {
	f := &flusher{
		committer: d.committer, memtable: d.w.memtable, space: d.space, log: d.log, batch: batch, wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	owner, err := d.q.Flushed(ctx)
	if err != nil {
		return nil, fmt.Errorf("read owner: %w", err)
	}
	s := &f.memtable.snapshot
	s.next, s.flushed = d.w.nextSeq, owner.Flushed
	for after := s.flushed; ; {
		rows, err := d.q.ReadUnflushed(ctx, q.ReadUnflushedParams{Flushed: after, Page: flushBatch})
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		f.memtable.load(rows)
		if len(rows) < flushBatch {
			f.wakeUp()
			return f, nil
		}
		after = rows[len(rows)-1].Seq
	}
}

// wakeUp lets run go on if there is a whole batch to flush. It does not block.
func (f *flusher) wakeUp() {
	if !f.behind() {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// batches is how many whole batches there are to flush.
func (f *flusher) batches() int { return f.memtable.snapshot.count() / f.batch }

// behind reports whether there is a whole batch to flush.
func (f *flusher) behind() bool { return f.batches() > 0 }

// run is the flusher's goroutine. It ends after the committer.
func (f *flusher) run() {
	defer close(f.done)
	for {
		select {
		case <-f.committer.Done():
			return
		case <-f.wake:
		}
		for f.behind() && f.flush() {
		}
	}
}

// flush writes a batch and reports whether it could. Where it can't nothing is lost:
// readers scan a little further until it works again.
func (f *flusher) flush() bool {
	err := f.flushBatch()
	if err != nil {
		f.log.Debug("events are not flushed into their accounts' history and lanes", "error", err.Error())
	}
	return err == nil
}

// flushBatch writes a batch in the order of the tables' keys.
func (f *flusher) flushBatch() error {
	if err := f.space.low(); err != nil {
		return err // the room is kept for settles
	}
	rows := f.memtable.snapshot.oldest(f.batch)
	upTo := rows[len(rows)-1].seq
	slices.SortFunc(rows, func(a, b appended) int {
		return cmp.Or(cmp.Compare(a.clientID, b.clientID), cmp.Compare(a.seq, b.seq))
	})
	for chunks := slices.Collect(slices.Chunk(rows, max(1, f.batch/flushChunks))); len(chunks) > 0; {
		// The more batches wait, the more of one is written at once: what is appended fast
		// is flushed as fast.
		n := min(len(chunks), f.batches())
		var ops []*operation
		for _, chunk := range chunks[:n] {
			ops = append(ops, flushing(chunk))
		}
		if err := f.submit(ops...); err != nil {
			return err
		}
		chunks = chunks[n:]
	}
	return f.submit(f.endBatch(upTo))
}

// submit lets the committer do ops, and returns what the first failure was.
func (f *flusher) submit(ops ...*operation) (err error) {
	for i, op := range ops {
		if err = f.committer.Submit(op); err != nil {
			ops = ops[:i]
			break
		}
	}
	for _, op := range ops {
		<-op.Ended()
		err = cmp.Or(err, op.Err)
	}
	return err
}

// flushing writes a part of a batch. A batch that is broken off is begun again: rows that
// are there already stay as they are.
func flushing(rows []appended) *operation {
	flush := workFunc(func(w *writer) error {
		for _, r := range rows {
			if err := w.flush(r); err != nil {
				return fmt.Errorf("flush event: %w", err)
			}
		}
		return nil
	})
	return &operation{Work: flush, Size: 64 * (len(rows) + 1), RetriedWhenFull: true}
}

// endBatch says that everything is flushed up to seq.
func (f *flusher) endBatch(seq int64) *operation {
	save := workFunc(func(w *writer) error { return w.q.SaveFlushed(background, seq) })
	return &operation{Work: save, Size: 64, RetriedWhenFull: true, After: func() { f.memtable.flushedTo(seq) }}
}

// flush writes an event into history, and into lanes if its first run is pending.
func (w *writer) flush(a appended) error {
	stage := w.memtable.stage(a.seq)
	switch stage {
	case stageDeleted:
		return nil
	case stageFlushed:
		return refusal{fmt.Errorf("seq %d is flushed already", a.seq)}
	}
	if err := w.hot.insertHistory(q.InsertHistoryParams{ClientID: a.clientID, Seq: a.seq}); err != nil || stage != stageWaiting {
		return err
	}
	w.move(a.seq, stageInLane)
	return w.hot.insertPending(q.InsertPendingParams{ClientID: a.clientID, Turn: a.seq, Seq: a.seq, Run: 1})
}

// flushRest flushes all that is left, so that lanes has all pending events in a file that
// no process has open. If it can't, the next owner does it.
func (d *DB) flushRest() {
	err := d.space.low()
	if err == nil {
		err = d.w.fenced(func() error { return d.w.conn.Exec("UPDATE flush SET flushed = 1") })
	}
	if err != nil {
		d.log.Debug("events are not flushed into their accounts' lanes", "error", err.Error())
	}
}
