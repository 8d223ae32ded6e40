package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sort"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// memtable is the events that are not flushed yet, in order of seq: what the committer
// knows of their first runs, which stand nowhere else than in its memory and in the
// absence of a result. Later runs are always in lanes.
//
// The events follow the transaction, as all of writerState does; snapshot has what of that
// is committed.
type memtable struct {
	events   []unflushed // also deleted ones
	snapshot snapshot
}

func newMemtable() *memtable { return &memtable{snapshot: snapshot{waiting: map[string][]int64{}}} }

// appended names an event that was appended.
type appended struct {
	seq      int64
	clientID string
}

type unflushed struct {
	appended // never changes
	stage    stage
}

// stage is how far an event's first run has come.
type stage uint8

const (
	stageFlushed  stage = iota // not in the memtable: lanes says whether it is pending
	stageWaiting               // pending, without a row in lanes
	stageInLane                // pending, with one: its batch is being flushed
	stageSettled               // not pending any more
	stageDelivery              // scheduled, or in lanes once its time has come, or settled: see deliveries
	stageDeleted               // with the event
)

// find returns nil for what is flushed.
func (t *memtable) find(seq int64) *unflushed {
	i := searchSeqs(len(t.events), seq, func(i int) int64 { return t.events[i].seq })
	if i < 0 {
		return nil
	}
	return &t.events[i]
}

// searchSeqs returns the index of seq among n seqs in order, or -1. There are few gaps, so
// it looks first where seq would be without one.
func searchSeqs(n int, seq int64, at func(i int) int64) int {
	if n == 0 || seq < at(0) {
		return -1
	}
	last := int(min(seq-at(0), int64(n-1))) // it can't stand behind
	if at(last) == seq {
		return last
	}
	if i := sort.Search(last, func(i int) bool { return at(i) >= seq }); i < last && at(i) == seq {
		return i
	}
	return -1
}

func (t *memtable) stage(seq int64) stage {
	if e := t.find(seq); e != nil {
		return e.stage
	}
	return stageFlushed
}

// publish shows readers what a commit has appended and settled; all seqs below nextSeq are
// in use.
func (t *memtable) publish(results []q.Result, nextSeq int64) {
	s := &t.snapshot
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range t.events[len(s.events):] {
		if e.stage != stageDelivery {
			s.waiting[e.clientID] = append(s.waiting[e.clientID], e.seq)
		}
	}
	s.next, s.events = nextSeq, t.events
	for i := range results {
		if e := t.find(results[i].Seq); e != nil {
			s.drop(e.appended)
		}
	}
}

// flushedTo forgets what is flushed now. It is called after the commit.
func (t *memtable) flushedTo(seq int64) {
	n := sort.Search(len(t.events), func(i int) bool { return t.events[i].seq > seq })
	s := &t.snapshot
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range t.events[:n] {
		s.drop(e.appended)
	}
	t.events = slices.Clone(t.events[n:]) // a clone, to let go of the names
	s.flushed, s.events = seq, t.events
}

// load adds events as they were found in the file.
func (t *memtable) load(rows []q.ReadUnflushedRow) {
	for _, r := range rows {
		e := unflushed{appended{r.Seq, r.ClientID}, stageWaiting}
		switch {
		case r.Delivered == 1:
			e.stage = stageDelivery
		case r.Settled == 1:
			e.stage = stageSettled
		case r.InLane == 1:
			e.stage = stageInLane
		}
		t.events = append(t.events, e)
		if e.stage == stageWaiting || e.stage == stageInLane {
			t.snapshot.waiting[r.ClientID] = append(t.snapshot.waiting[r.ClientID], r.Seq)
		}
	}
	t.snapshot.events = t.events
}

// accept adds an event that was just appended.
func (m *writerState) accept(seq int64, clientID string, stage stage) {
	m.memtable.events = append(m.memtable.events, unflushed{appended{seq, clientID}, stage})
}

// move notes the stage of an event; what is flushed has none.
func (m *writerState) move(seq int64, to stage) {
	if e := m.memtable.find(seq); e != nil && e.stage != to {
		m.undo = append(m.undo, undo{moved: seq, from: e.stage})
		e.stage = to
	}
}

// runID names a run of an event.
type runID struct {
	clientID       string
	turn, seq, run int64
}

func runOf(ev *db.Event) runID { return runID{ev.ClientID, ev.Position, ev.Seq, ev.Run} }

// first returns what the memtable knows of a run, or nil where only lanes knows.
func (w *writer) first(r runID) *unflushed {
	if r.run != 1 {
		return nil
	}
	if e := w.memtable.find(r.seq); e != nil && e.stage != stageDelivery {
		return e
	}
	return nil
}

// isPending reports whether a run is to come, or under way.
func (w *writer) isPending(r runID) (bool, error) {
	if w.writable(r.clientID) != nil {
		return false, nil
	}
	if e := w.first(r); e != nil {
		return (e.stage == stageWaiting || e.stage == stageInLane) && e.clientID == r.clientID && r.turn == r.seq, nil
	}
	n, err := w.q.IsPending(background, q.IsPendingParams{ClientID: r.clientID, Turn: r.turn, Seq: r.seq, Run: r.run})
	if err != nil {
		return false, fmt.Errorf("look for pending: %w", err)
	}
	return n == 1, nil
}

// end takes a run out of what is pending. This is the fence of the run: where end
// reports false, somebody else has ended it, and nothing was written.
func (w *writer) end(r runID) (bool, error) {
	if w.writable(r.clientID) != nil {
		return false, nil
	}
	e := w.first(r)
	if e != nil && e.stage != stageInLane {
		if e.stage != stageWaiting || e.clientID != r.clientID || r.turn != r.seq {
			return false, nil
		}
		w.move(r.seq, stageSettled)
		w.pend(r.clientID, -1)
		return true, nil
	}
	n, err := w.hot.deletePending(q.DeletePendingParams{ClientID: r.clientID, Turn: r.turn, Seq: r.seq, Run: r.run})
	if err != nil {
		return false, fmt.Errorf("delete pending: %w", err)
	}
	if n != 1 {
		return false, nil
	}
	if e != nil {
		w.move(r.seq, stageSettled)
	}
	w.pend(r.clientID, -1)
	return true, nil
}

// head returns an account's first run, or seq 0 if nothing of it is pending.
func (w *writer) head(clientID string) (q.HeadRow, error) {
	head, err := w.q.Head(background, clientID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return head, fmt.Errorf("read head: %w", err)
	}
	before := func(seq int64) bool {
		return w.memtable.stage(seq) == stageWaiting && (head.Seq == 0 || seq < head.Turn)
	}
	for _, seq := range w.memtable.snapshot.waitingOf(clientID) {
		if before(seq) {
			return q.HeadRow{Turn: seq, Seq: seq, Run: 1}, nil
		}
	}
	for i := range w.published { // of this transaction: the snapshot has not them yet
		if ev := &w.published[i]; ev.ClientID == clientID && before(ev.Seq) {
			return q.HeadRow{Turn: ev.Seq, Seq: ev.Seq, Run: 1}, nil
		}
	}
	return head, nil
}

// backlogs is what of the memtable is pending and in no lane.
func (t *memtable) backlogs() map[string]q.BacklogsRow {
	accounts := map[string]q.BacklogsRow{}
	for _, e := range t.events {
		if e.stage != stageWaiting {
			continue
		}
		b, ok := accounts[e.clientID]
		if !ok {
			b = q.BacklogsRow{ClientID: e.clientID, HeadTurn: e.seq}
		}
		b.Events++
		accounts[e.clientID] = b
	}
	return accounts
}
