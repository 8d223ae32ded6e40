package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
)

// effectTx is the db.Tx of one effect. A statement that fails ends the transaction, so
// nothing runs after it.
type effectTx struct {
	chain  *chain
	event  db.Event // the one that is settled
	began  time.Time
	strict bool // the effect is alone: its bound is that of the clock

	mu      sync.Mutex
	broken  error // why nothing runs any more
	waited  time.Duration
	emitted int
	rows    []*sql.Rows
	single  []*sql.Row
}

var errTxOver = errors.New("the effect has ended; its transaction can't be used any more")

// Context returns a context for sqlc's generated code. It is never cancelled.
func (tx *effectTx) Context() context.Context { return background }

// PrepareContext is refused: ExecContext and QueryContext keep statements prepared.
func (tx *effectTx) PrepareContext(context.Context, string) (*sql.Stmt, error) {
	return nil, errors.New("an effect need not prepare statements: Exec and Query keep them prepared")
}

// ExecContext runs a statement. What it returns of rows is let go.
func (tx *effectTx) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	s, err := tx.statement(query, args)
	if err != nil {
		return nil, err
	}
	return s.result(), nil
}

// QueryContext runs a statement that returns rows. All are read at once.
func (tx *effectTx) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := tx.statement(query, args)
	if err != nil {
		return nil, err
	}
	rows, err := tx.chain.l.g.w.rows.of(s.found)
	if err == nil {
		tx.mu.Lock()
		tx.rows = append(tx.rows, rows)
		tx.mu.Unlock()
	}
	return rows, err
}

// QueryRowContext runs a statement that returns one row. Its error comes from Scan.
func (tx *effectTx) QueryRowContext(_ context.Context, query string, args ...any) *sql.Row {
	s, err := tx.statement(query, args)
	if err != nil {
		return failedRow(err)
	}
	row := tx.chain.l.g.w.rows.one(s.found)
	tx.mu.Lock()
	tx.single = append(tx.single, row)
	tx.mu.Unlock()
	return row
}

// statement runs a statement of the effect's.
func (tx *effectTx) statement(query string, args []any) (*execution, error) {
	x, err := newExecution(query, args) // may call the effect's code
	if err != nil {
		return nil, err
	}
	w := tx.chain.l.g.w
	err = tx.ask(func() ([]*call, error) {
		s, err := w.texts.prepare(w, query)
		if err != nil {
			return nil, err
		}
		c, err := x.call(s)
		return []*call{c}, err
	})
	return x, err
}

// ask asks for the calls that build makes, within the effect's time.
func (tx *effectTx) ask(build func() ([]*call, error)) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.broken != nil {
		return tx.broken
	}
	if tx.strict && time.Since(tx.began) > tx.chain.l.g.w.limits.effect {
		tx.broken = db.ErrEffectTooSlow
		return tx.broken
	}
	asked := time.Now()
	err := tx.chain.ask(&request{build: build})
	tx.waited += time.Since(asked)
	if err != nil {
		tx.broken = err
	}
	return err
}

// took is how long the effect took, without what it waited for in a group.
func (tx *effectTx) took() time.Duration {
	if tx.strict {
		return time.Since(tx.began)
	}
	return time.Since(tx.began) - tx.waited
}

// tooSlow reports whether a statement was ended by its timeout.
func tooSlow(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "57014" // query_canceled
}

// close ends the Tx and the rows it gave out, and returns why the attempt has failed whatever
// the effect says.
func (tx *effectTx) close() error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for _, r := range tx.rows {
		_ = r.Close()
	}
	for _, r := range tx.single {
		_ = r.Scan() // closes it; a row that was scanned stays as it is
	}
	tx.rows, tx.single = nil, nil
	err := tx.broken
	tx.broken = errTxOver
	return err
}

// Emit appends ev in the effect's transaction, see db.Tx.
func (tx *effectTx) Emit(ev db.Event) error {
	_, err := tx.EmitReceipt(ev)
	return err
}

// EmitReceipt is Emit, and returns the event's receipt, see db.Tx.
func (tx *effectTx) EmitReceipt(ev db.Event) (db.Receipt, error) {
	ev, err := tx.complete(ev)
	if err != nil {
		return db.Receipt{}, err
	}
	g := tx.chain.l.g
	if g.w.erasing.has(ev.ClientID) {
		return db.Receipt{}, fmt.Errorf("emit %s %s: %w", ev.ClientID, ev.MessageID, db.ErrErasing)
	}
	seq, err := g.w.number()
	if err != nil {
		return db.Receipt{}, err
	}
	list := []insert{{event: ev, seq: seq}}
	if err := tx.ask(func() ([]*call, error) { return g.insertCalls(list), nil }); err != nil {
		return db.Receipt{}, err
	}
	r := db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: seq, State: db.Pending}
	if list[0].new {
		return r, nil
	}
	return tx.emittedBefore(ev, r)
}

// emittedBefore returns the receipt of an identity that was accepted before.
func (tx *effectTx) emittedBefore(ev db.Event, r db.Receipt) (db.Receipt, error) {
	var typ, payload string
	var status *string
	look := &call{text: `SELECT o.seq, o.type, o.payload, r.status FROM outbox o LEFT JOIN results r ON r.seq = o.seq
		WHERE o.message_id = $1 AND o.client_id = $2`, args: []any{ev.MessageID, ev.ClientID}, read: func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&r.Seq, &typ, &payload, &status); err != nil {
				return err
			}
		}
		return rows.Err()
	}}
	if err := tx.ask(func() ([]*call, error) { return []*call{look}, nil }); err != nil {
		return r, err
	}
	if typ != ev.Type || payload != string(ev.Payload) {
		return r, fmt.Errorf("emit %s %s: %w", ev.ClientID, ev.MessageID, &db.IDReusedError{Seq: r.Seq})
	}
	if r.Duplicate = true; status != nil {
		r.State = db.State(*status)
	}
	return r, nil
}

// complete checks an event that an effect emits as the door checks a posted one.
func (tx *effectTx) complete(ev db.Event) (db.Event, error) {
	tx.mu.Lock()
	broken := tx.broken
	tx.emitted++
	n := tx.emitted
	tx.mu.Unlock()
	switch {
	case broken != nil:
		return ev, broken
	case n > db.MaxEmit:
		return ev, fmt.Errorf("an effect may emit %d events", db.MaxEmit)
	}
	if ev.RequestID == "" {
		ev.RequestID = tx.event.RequestID
	}
	if ev.Attrs == nil {
		ev.Attrs = tx.event.Attrs
	}
	var buf bytes.Buffer
	err := json.Compact(&buf, ev.Payload)
	if ev.Payload = buf.Bytes(); err == nil {
		err = storable(&ev)
	}
	if err == nil && tx.chain.l.g.w.check != nil {
		ev, err = tx.chain.l.g.w.check(ev)
	}
	if err != nil {
		return ev, fmt.Errorf("emit %s %s: %w", ev.ClientID, ev.MessageID, err)
	}
	return ev, nil
}
