package sqlite

import (
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// Bounds of one dueWork, whose group others share.
const (
	dueEvents = 256
	dueBytes  = 1 << 20 // of payloads
)

// dueKey is an event's place among those that are scheduled.
type dueKey struct{ at, seq int64 }

// dueWork makes the next scheduled events pending whose time has come, in the order of
// DeliverAt and seq: those after a key. It reads in its transaction which they are: so every
// event that was accepted before is seen, and none of an earlier time comes later.
type dueWork struct {
	after dueKey
	last  dueKey // of the events that were looked at
	left  int    // of those, that stay: their accounts are being erased
	more  bool   // further ones may be due
}

func (d *dueWork) run(w *writer, _ int) error {
	d.last, d.left = d.after, 0
	rows, err := w.q.Due(background, q.DueParams{After: d.after.at, AfterSeq: d.after.seq, Now: w.now, Page: dueEvents})
	if err != nil {
		return fmt.Errorf("read due events: %w", err)
	}
	d.more = len(rows) == dueEvents
	bytes := 0
	for i := range rows {
		r := &rows[i]
		if bytes += len(r.Payload); bytes > dueBytes && i > 0 {
			d.more = true
			return nil
		}
		d.last = dueKey{r.DeliverAt, r.Seq}
		if w.writable(r.ClientID) != nil {
			d.left++
			continue
		}
		if err := w.placeDue(r); err != nil {
			return err
		}
	}
	return nil
}

// placeDue gives an event the next position, and has it handed over as a new event.
func (w *writer) placeDue(r *q.DueRow) error {
	if was, err := w.unschedule(r.ClientID, r.Seq); err != nil || !was {
		return err
	}
	position := w.nextSeq
	w.nextSeq++
	ev := db.Event{
		ClientID: r.ClientID, MessageID: r.MessageID, Type: r.Type, Payload: ownedBytes(r.Payload), RequestID: r.RequestID,
		Attrs: rawJSON(r.Attrs), DeliverAt: unixMicro(r.DeliverAt), Seq: r.Seq, ReceivedAt: unixMicro(r.ReceivedAt),
	}
	if err := w.pendNow(&ev, position); err != nil {
		return err
	}
	w.published = append(w.published, ev)
	return nil
}
