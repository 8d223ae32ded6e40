package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"inturn/db"
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
// lanes, behind the appends: most events are settled by then. Until then readers
// find out from it what is pending, as of the last commit.
type flusher struct {
	committer *commit.Committer[work]
	space     *space
	log       *slog.Logger
	batch     int
	wake      chan struct{}
	done      chan struct{} // closed when run has ended

	mu        sync.Mutex
	next      int64              // the next event's seq
	flushed   int64              // everything up to this seq is flushed
	unflushed []appended         // those beyond it that were committed, in order; also deleted ones
	waiting   map[string][]int64 // by account, the unflushed events whose first run is pending
}

type appended struct {
	seq      int64
	clientID string
}

// newFlusher reads what was not flushed when the file was opened, for itself and for the
// committer.
func newFlusher(ctx context.Context, d *DB, batch int) (*flusher, error) {
	w := d.w
	f := &flusher{
		committer: d.committer, space: d.space, log: d.log, batch: batch, next: w.nextSeq, waiting: map[string][]int64{},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	books, err := d.q.Flushed(ctx)
	if err != nil {
		return nil, fmt.Errorf("read owner: %w", err)
	}
	f.flushed = books.Flushed
	for after := f.flushed; ; {
		rows, err := d.q.ReadUnflushed(ctx, q.ReadUnflushedParams{Flushed: after, Page: flushBatch})
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		for _, r := range rows {
			e := unflushed{r.Seq, r.ClientID, stageWaiting}
			switch {
			case r.Settled == 1:
				e.stage = stageSettled
			case r.InLane == 1:
				e.stage = stageInLane
			}
			w.memtable.events = append(w.memtable.events, e)
			f.unflushed = append(f.unflushed, appended{r.Seq, r.ClientID})
			if e.stage != stageSettled {
				f.waiting[r.ClientID] = append(f.waiting[r.ClientID], r.Seq)
			}
		}
		if len(rows) < flushBatch {
			if f.behind() {
				f.wake <- struct{}{}
			}
			return f, nil
		}
		after = rows[len(rows)-1].Seq
	}
}

// committed takes in what a commit has appended and settled; all seqs below nextSeq are in
// use. It does not block, and is called before the events are published, so that they are
// found here.
func (f *flusher) committed(events []db.Event, results []q.Result, nextSeq int64) {
	f.mu.Lock()
	f.next = nextSeq
	for i := range events {
		ev := &events[i]
		f.unflushed = append(f.unflushed, appended{ev.Seq, ev.ClientID})
		f.waiting[ev.ClientID] = append(f.waiting[ev.ClientID], ev.Seq)
	}
	for i := range results {
		f.ended(results[i].Seq)
	}
	behind := len(f.unflushed) >= f.batch
	f.mu.Unlock()
	if !behind {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// ended notes that an event's first run isn't pending. f.mu is held.
func (f *flusher) ended(seq int64) {
	if i := searchSeqs(len(f.unflushed), seq, func(i int) int64 { return f.unflushed[i].seq }); i >= 0 {
		f.drop(f.unflushed[i].clientID, seq)
	}
}

// drop takes an event out of those that wait; mostly it is its account's first. f.mu is
// held.
func (f *flusher) drop(clientID string, seq int64) {
	list := f.waiting[clientID]
	switch {
	case len(list) == 0:
	case len(list) == 1 && list[0] == seq:
		delete(f.waiting, clientID)
	case list[0] == seq:
		f.waiting[clientID] = list[1:]
	default:
		if i, found := slices.BinarySearch(list, seq); found { // a copy, as readers have the list
			f.waiting[clientID] = slices.Concat(list[:i], list[i+1:])
		}
	}
}

// waitingOf returns the account's unflushed events whose first run is pending, in order.
// The caller must not change the list.
func (f *flusher) waitingOf(clientID string) []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting[clientID]
}

// waitingAfter returns the account's unflushed pending events after a position, up to
// limit. Together with lanes, as it is afterwards, they are the pending ones of the
// positions below end. more says that there are further ones.
func (f *flusher) waitingAfter(clientID string, after int64, limit int) (seqs []int64, end int64, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.waiting[clientID]
	i, _ := slices.BinarySearch(list, after+1)
	if list = list[i:]; len(list) > limit {
		return list[:limit], list[limit], true
	}
	return list, f.next, false
}

// nextSeq returns the seq that the next event gets.
func (f *flusher) nextSeq() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

// batches is how many whole batches there are to file.
func (f *flusher) batches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.unflushed) / f.batch
}

// behind reports whether there is a whole batch to file.
func (f *flusher) behind() bool { return f.batches() > 0 }

// flushedUpTo is the seq up to which everything is flushed.
func (f *flusher) flushedUpTo() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushed
}

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
	f.mu.Lock()
	rows := slices.Clone(f.unflushed[:f.batch])
	f.mu.Unlock()
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

// flushedTo forgets what is flushed now.
func (f *flusher) flushedTo(seq int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for ; n < len(f.unflushed) && f.unflushed[n].seq <= seq; n++ {
		f.drop(f.unflushed[n].clientID, f.unflushed[n].seq)
	}
	f.flushed, f.unflushed = seq, slices.Clone(f.unflushed[n:]) // a clone, to let go of the names
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
	var w *writer
	save := workFunc(func(writer *writer) error {
		w = writer
		return w.q.SaveFlushed(background, seq)
	})
	after := func() {
		w.memtable.flushedTo(seq)
		f.flushedTo(seq)
	}
	return &operation{Work: save, Size: 64, RetriedWhenFull: true, After: after}
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
