package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// Append makes ev durable and returns once its row is committed, also where the row is an
// earlier one's (Receipt.Duplicate). ev must have passed functions.Set.Check.
//
// Errors: *IDReusedError; ErrOverloaded, ErrBacklogFull, ErrAccountFull, ErrStorageFull and
// ErrUnavailable, where nothing was written; ErrOutcomeUnknown; ErrClosed once Close began;
// or ctx's error, after which the event may be durable or not. Whatever was told, sending
// the same event again is safe.
func (d *DB) Append(ctx context.Context, ev db.Event) (db.Receipt, error) {
	if err := storable(&ev); err != nil {
		return db.Receipt{}, err
	}
	// What a reader saw last may be retention's work by the time it is read again.
	for range 3 {
		w := &appendOp{event: ev}
		if err := d.committer.Do(ctx, &op{Work: w, Size: len(ev.Payload) + len(ev.Attrs) + 512}); err != nil {
			return db.Receipt{}, err
		}
		if !w.repeat {
			return db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: w.seq, State: db.Pending}, nil
		}
		r, err := d.repeat(ctx, ev)
		if !errors.Is(err, db.ErrNotFound) {
			return r, err
		}
	}
	return db.Receipt{}, fmt.Errorf("append: %w", db.ErrOverloaded)
}

// repeat answers for an identity that is in the database already.
func (d *DB) repeat(ctx context.Context, ev db.Event) (db.Receipt, error) {
	s, err := d.Find(ctx, ev.ClientID, ev.MessageID)
	if err != nil {
		return db.Receipt{}, err
	}
	if s.Type != ev.Type || !bytes.Equal(s.Payload, ev.Payload) {
		return db.Receipt{}, &db.IDReusedError{Seq: s.Seq}
	}
	return db.Receipt{ClientID: s.ClientID, MessageID: s.MessageID, Seq: s.Seq, Duplicate: true, State: s.State, Result: s.Result}, nil
}

// storable returns an error for an event that PostgreSQL could not store: it would end the
// transaction of its neighbours.
func storable(ev *db.Event) error {
	if !ev.DeliverAt.IsZero() {
		return &db.FieldError{Field: "deliver_at", Detail: "is not taken on PostgreSQL yet"}
	}
	for name, value := range map[string]string{
		"client_id": ev.ClientID, "message_id": ev.MessageID, "type": ev.Type, "payload": string(ev.Payload), "request_id": ev.RequestID, "attributes": string(ev.Attrs),
	} {
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return &db.FieldError{Field: name, Detail: "must be UTF-8 without U+0000"}
		}
	}
	return nil
}

// stored returns a text of ours as PostgreSQL can store it.
func stored(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// appendOp appends one event.
type appendOp struct {
	event  db.Event
	err    error // its own
	seq    int64
	repeat bool
}

func (o *appendOp) account() string { return "" }
func (o *appendOp) outcome() error  { return o.err }

// looked is an identity that is looked for before it is decided what becomes of it.
type looked struct {
	seq     int64 // of the event that has it, 0 for none
	typ     string
	payload string
}

// insert is a row for outbox.
type insert struct {
	event db.Event
	seq   int64
	new   bool
	of    *appendOp // nil: a batch's or an effect's
}

// queueAppends inserts what there is room for, and looks for the identities of the rest,
// which may be repeats, and of batches.
func (g *group) queueAppends() {
	for _, o := range g.appends {
		o.err, o.repeat, o.seq = nil, false, 0
		if g.w.erasing.has(o.event.ClientID) {
			o.err = db.ErrErasing
			continue
		}
		if o.err = g.mayTake(o.event.ClientID); o.err != nil {
			continue // it is decided with the batches
		}
		seq, err := g.w.number()
		if err != nil {
			o.err = db.ErrOverloaded
			continue
		}
		g.room.all++
		g.room.of[o.event.ClientID]++
		g.inserts = append(g.inserts, insert{event: o.event, seq: seq, of: o})
	}
	g.queueInserts(g.inserts)
	var clients, messages []string
	look := func(ev *db.Event) {
		clients, messages = append(clients, stored(ev.ClientID)), append(messages, stored(ev.MessageID))
	}
	for _, o := range g.appends {
		if o.err != nil && !errors.Is(o.err, db.ErrErasing) {
			look(&o.event)
		}
	}
	for _, o := range g.batches {
		for i := range o.batch.Events {
			look(&o.batch.Events[i])
		}
	}
	if len(clients) == 0 {
		return
	}
	g.looked = make([]looked, len(clients))
	g.queued = append(g.queued, &call{text: identitiesQuery, args: []any{clients, messages}, read: func(rows pgx.Rows) error {
		for rows.Next() {
			var n int64
			var l looked
			if err := rows.Scan(&n, &l.seq, &l.typ, &l.payload); err != nil {
				return err
			}
			g.looked[n-1] = l
		}
		return rows.Err()
	}})
}

const (
	identitiesQuery = `SELECT w.n, o.seq, o.type, o.payload FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(client_id, message_id, n)
		JOIN outbox o ON o.message_id = w.message_id AND o.client_id = w.client_id`

	insertAccounts = `INSERT INTO accounts (client_id) SELECT unnest($1::text[]) ON CONFLICT (client_id) DO NOTHING`

	insertOutbox = `INSERT INTO outbox (seq, slot, client_id, message_id, type, payload, received_at, request_id, attrs)
		SELECT w.seq, w.slot, w.client_id, w.message_id, w.type, w.payload, $7, w.request_id, w.attrs
		FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $8::text[], $9::text[])
			AS w(seq, slot, client_id, message_id, type, payload, request_id, attrs)
		ON CONFLICT (message_id, client_id) DO NOTHING RETURNING seq`
)

// queueInserts inserts rows, of which those that are there already are left out. It keeps
// list, whose elements learn whether they are new.
func (g *group) queueInserts(list []insert) {
	if len(list) > 0 {
		g.queued = append(g.queued, g.insertCalls(list)...)
	}
}

func (g *group) insertCalls(list []insert) (calls []*call) {
	n := len(list)
	seqs, slots := make([]int64, n), make([]int32, n)
	clients, messages, types, payloads, requests := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	attrs := make([]*string, n)
	var unknown []string
	for i := range list {
		ev := &list[i].event
		seqs[i], slots[i], clients[i], messages[i], types[i] = list[i].seq, slotOf(ev.ClientID), ev.ClientID, ev.MessageID, ev.Type
		payloads[i], requests[i] = string(ev.Payload), ev.RequestID
		if len(ev.Attrs) > 0 {
			text := string(ev.Attrs)
			attrs[i] = &text
		}
		if !g.d.isKnown(ev.ClientID) {
			g.d.know(ev.ClientID)
			unknown = append(unknown, ev.ClientID)
		}
	}
	if len(unknown) > 0 {
		calls = append(calls, &call{text: insertAccounts, args: []any{unknown}})
	}
	return append(calls, &call{
		text: insertOutbox, args: []any{seqs, slots, clients, messages, types, payloads, g.now, requests, attrs},
		read: func(rows pgx.Rows) error {
			for rows.Next() {
				var seq int64
				if err := rows.Scan(&seq); err != nil {
					return err
				}
				at, ok := slices.BinarySearchFunc(list, seq, func(in insert, seq int64) int { return cmp.Compare(in.seq, seq) })
				if !ok {
					return fmt.Errorf("seq %d was inserted, and not asked for", seq)
				}
				g.accepted(&list[at])
			}
			return rows.Err()
		},
	})
}

// accepted notes that a row is new.
func (g *group) accepted(in *insert) {
	in.new = true
	ev := in.event
	g.d.pend(ev.ClientID, 1)
	ev.Seq, ev.Position, ev.Run, ev.ReceivedAt = in.seq, in.seq, 1, time.UnixMicro(g.now).UTC()
	g.d.published = append(g.d.published, ev)
}

// finishAppends notes at each single append whether its event is new.
func (g *group) finishAppends() {
	for i := range g.inserts {
		in := &g.inserts[i]
		in.of.seq, in.of.repeat = in.seq, !in.new
	}
	g.inserts, g.room = nil, room{of: map[string]int{}}
}

// mayTake says whether one more event of the account is taken.
func (g *group) mayTake(clientID string) error {
	if n, is := g.w.limits.pending, g.d.of.runnable+g.d.runnable+g.room.all; n > 0 && is >= n {
		return fmt.Errorf("%w: %d events are pending", db.ErrBacklogFull, is)
	}
	if n, is := g.w.limits.accountPending, g.d.pendingOf(clientID)+g.room.of[clientID]; n > 0 && is >= n {
		return fmt.Errorf("%w: %d of its events are pending", db.ErrAccountFull, is)
	}
	return nil
}
