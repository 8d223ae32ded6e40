package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// Append makes ev durable and returns once its row is committed and fsynced, also
// where the row is an earlier one's (Receipt.Duplicate). ev must have passed
// functions.Set.Check.
//
// Errors: *IDReusedError; ErrOverloaded, ErrBacklogFull, ErrAccountFull,
// ErrStorageFull and ErrUnavailable, where nothing was written; ErrOutcomeUnknown;
// ErrClosed once Close began; or ctx's error, after which the event may be durable
// or not. Whatever was told, sending the same event again is safe.
func (d *DB) Append(ctx context.Context, ev db.Event) (db.Receipt, error) {
	// What a reader saw last may be retention's work by the time it is read again.
	for range 3 {
		op := newAppend(ev)
		if err := d.committer.Do(ctx, &op.operation); err != nil {
			return db.Receipt{}, err
		}
		if !op.repeat {
			return db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: op.seq, State: op.state}, nil
		}
		// The comparison is done here, not on the committer's goroutine.
		r, err := d.repeat(ctx, ev)
		if !errors.Is(err, db.ErrNotFound) {
			return r, err
		}
	}
	return db.Receipt{}, fmt.Errorf("append: %w", db.ErrOverloaded)
}

// repeat answers for an identity that is in the file already.
func (d *DB) repeat(ctx context.Context, ev db.Event) (db.Receipt, error) {
	s, err := d.Find(ctx, ev.ClientID, ev.MessageID)
	if err != nil {
		return db.Receipt{}, err
	}
	if s.Type != ev.Type || !bytes.Equal(s.Payload, ev.Payload) || s.DeliverAt.UnixMicro() != ev.DeliverAt.UnixMicro() {
		return db.Receipt{}, &db.IDReusedError{Seq: s.Seq}
	}
	return db.Receipt{ClientID: s.ClientID, MessageID: s.MessageID, Seq: s.Seq, Duplicate: true, State: s.State, Result: s.Result}, nil
}

// appendOp appends one event: outbox, and the account if it is new.
type appendOp struct {
	operation
	event  db.Event
	seq    int64
	state  db.State // of a new event
	repeat bool
}

func newAppend(ev db.Event) *appendOp {
	o := &appendOp{event: ev}
	o.Work, o.Size = o, sizeOf(&ev)
	return o
}

// sizeOf returns about what an event adds to the file.
func sizeOf(ev *db.Event) int { return len(ev.Payload) + len(ev.Attrs) + 512 }

func (o *appendOp) run(w *writer, _ int) error {
	seq, err := w.insert(o.event)
	o.seq, o.state, o.repeat = seq, stateOf(&o.event, w.now), seq == 0
	return err
}

// insert returns the new event's seq, or 0 where its identity is there already.
func (w *writer) insert(ev db.Event) (int64, error) {
	if err := w.writable(ev.ClientID); err != nil {
		return 0, err
	}
	if err := w.room(&ev); err != nil {
		_, ferr := w.q.Identity(background, q.IdentityParams{ClientID: ev.ClientID, MessageID: ev.MessageID})
		switch {
		case ferr == nil:
			return 0, nil // a repeat needs no room
		case errors.Is(ferr, sql.ErrNoRows):
			return 0, refusal{err}
		}
		return 0, fmt.Errorf("look for event: %w", ferr)
	}
	return w.add(ev)
}

func (w *writer) add(ev db.Event) (int64, error) {
	seq := w.nextSeq
	n, err := w.hot.insertOutbox(q.InsertOutboxParams{
		Seq: seq, ClientID: ev.ClientID, MessageID: ev.MessageID, Type: ev.Type, Payload: string(ev.Payload),
		ReceivedAt: w.now, RequestID: ev.RequestID, Attrs: nullJSON(ev.Attrs),
	})
	if err != nil {
		return 0, fmt.Errorf("insert event: %w", err)
	}
	if n == 0 {
		return 0, nil
	}
	w.nextSeq++
	stage := stageWaiting
	if !ev.DeliverAt.IsZero() {
		stage = stageDelivery
	}
	w.accept(seq, ev.ClientID, stage)
	if _, ok := w.known[ev.ClientID]; !ok {
		if err := w.q.InsertAccount(background, ev.ClientID); err != nil {
			return 0, fmt.Errorf("insert account: %w", err)
		}
		w.know(ev.ClientID)
	}
	ev.Seq, ev.ReceivedAt = seq, time.UnixMicro(w.now).UTC()
	if stage == stageWaiting {
		w.pend(ev.ClientID, 1)
		ev.Position, ev.Run = seq, 1
	} else if err := w.deliver(&ev); err != nil {
		return 0, err
	}
	w.published = append(w.published, ev)
	w.notices.accepted(&ev)
	return seq, nil
}

// room says whether ev is taken, by the bounds of the backlog.
func (w *writer) room(ev *db.Event) error {
	clientID := ev.ClientID
	if stateOf(ev, w.now) == db.Scheduled {
		return w.roomAhead(clientID)
	}
	if n := w.limits.pending; n > 0 && w.total >= n {
		return fmt.Errorf("%w: %d events are pending", db.ErrBacklogFull, w.total)
	}
	if n := w.limits.accountPending; n > 0 && w.backlog[clientID] >= n {
		return fmt.Errorf("%w: %d of its events are pending", db.ErrAccountFull, w.backlog[clientID])
	}
	return nil
}

func nullJSON(b json.RawMessage) sql.NullString {
	return sql.NullString{String: string(b), Valid: len(b) > 0}
}
