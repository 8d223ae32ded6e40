package sqlite

import (
	"bytes"
	"encoding/json"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// complete checks an event that an effect emits as the door checks a posted one.
func (tx *effectTx) complete(ev db.Event) (db.Event, error) {
	var buf bytes.Buffer
	if err := json.Compact(&buf, ev.Payload); err != nil {
		return ev, fmt.Errorf("payload: %w", err)
	}
	ev.Payload = buf.Bytes()
	if tx.w.check == nil {
		return ev, nil
	}
	return tx.w.check(ev)
}

// add appends what the effect emits. The limits of the backlog don't apply: the
// event that emits was accepted.
func (tx *effectTx) add(ev db.Event) (seq int64, duplicate bool, err error) {
	seq, err = tx.w.add(ev)
	if err != nil {
		return 0, false, err
	}
	if seq != 0 {
		return seq, false, tx.note(seq)
	}
	row, err := tx.w.q.Identity(background, q.IdentityParams{ClientID: ev.ClientID, MessageID: ev.MessageID})
	if err != nil {
		return 0, false, fmt.Errorf("look for event: %w", err)
	}
	if row.Type != ev.Type || row.Payload != string(ev.Payload) || !sameTime(row.DeliverAt, &ev) {
		return 0, false, &db.IDReusedError{Seq: row.Seq}
	}
	return row.Seq, true, tx.note(row.Seq)
}

// note keeps that the event which is settled emitted another one.
func (tx *effectTx) note(seq int64) error {
	if err := tx.w.q.InsertEmitted(background, q.InsertEmittedParams{Seq: tx.event.Seq, Emitted: seq}); err != nil {
		return fmt.Errorf("insert emitted: %w", err)
	}
	return nil
}
