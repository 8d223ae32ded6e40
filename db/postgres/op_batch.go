package postgres

import (
	"context"
	"errors"
	"maps"

	"inturn/db"
)

// AppendBatch makes the events of b durable, all in one transaction, and returns an answer
// for each, in order, once it is committed. An error concerns the whole batch and is as of
// Append; then no answer was given to any of its events.
func (d *DB) AppendBatch(ctx context.Context, b db.Batch) ([]db.AppendResult, error) {
	if len(b.Events) == 0 {
		return nil, nil
	}
	w := &batchOp{batch: b, before: maps.Clone(b.Refused)}
	size := 0
	for i := range b.Events {
		size += len(b.Events[i].Payload) + len(b.Events[i].Attrs) + 512
	}
	if err := d.committer.Do(ctx, &op{Work: w, Size: size}); err != nil {
		return nil, err
	}
	for clientID := range w.refused {
		b.Refused[clientID] = true
	}
	return w.answers, nil
}

// batchOp appends the events of a batch. Repeats are compared inside the transaction:
// whether one is refused decides about those after it.
type batchOp struct {
	batch   db.Batch
	before  map[string]bool // batch.Refused as it was
	answers []db.AppendResult
	refused map[string]bool
}

func (o *batchOp) account() string { return "" }
func (o *batchOp) outcome() error  { return nil }

// decideBatches says what becomes of the events that were looked for, and inserts those that
// are new.
func (g *group) decideBatches() error {
	next := 0
	for _, o := range g.appends {
		if o.err == nil || errors.Is(o.err, db.ErrErasing) {
			continue
		}
		if g.looked[next].seq != 0 {
			o.err, o.repeat = nil, true // a repeat needs no room
		}
		next++
	}
	var inserts []insert
	taken := map[[2]string]looked{} // the identities of inserts
	for _, o := range g.batches {
		o.answers, o.refused = make([]db.AppendResult, 0, len(o.batch.Events)), map[string]bool{}
		keepOrder := o.batch.Refused != nil
		for _, ev := range o.batch.Events {
			found := g.looked[next]
			next++
			if keepOrder && (o.refused[ev.ClientID] || o.before[ev.ClientID]) {
				o.answers = append(o.answers, db.AppendResult{Err: db.ErrNotAttempted})
				continue
			}
			id := [2]string{ev.ClientID, ev.MessageID}
			if found.seq == 0 {
				found = taken[id]
			}
			r, err := g.decide(ev, found)
			if err != nil {
				if keepOrder {
					o.refused[ev.ClientID] = true
				}
				o.answers = append(o.answers, db.AppendResult{Err: err})
				continue
			}
			if !r.Duplicate {
				inserts = append(inserts, insert{event: ev, seq: r.Seq})
				taken[id] = looked{r.Seq, ev.Type, string(ev.Payload)}
			}
			o.answers = append(o.answers, db.AppendResult{Receipt: r})
		}
	}
	g.queueInserts(inserts)
	return nil
}

// decide answers one event of a batch.
func (g *group) decide(ev db.Event, found looked) (db.Receipt, error) {
	r := db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: found.seq, Duplicate: true}
	if err := storable(&ev); err != nil {
		return r, err
	}
	if g.w.erasing.has(ev.ClientID) {
		return r, db.ErrErasing
	}
	if found.seq != 0 {
		if found.typ != ev.Type || found.payload != string(ev.Payload) {
			return r, &db.IDReusedError{Seq: found.seq}
		}
		return r, nil
	}
	if err := g.mayTake(ev.ClientID); err != nil {
		return r, err
	}
	seq, err := g.w.number()
	if err != nil {
		return r, db.ErrOverloaded
	}
	g.room.all++
	g.room.of[ev.ClientID]++
	r.Seq, r.Duplicate, r.State = seq, false, db.Pending
	return r, nil
}
