package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"inturn/db"
	"inturn/db/internal/commit"
	"inturn/db/sqlite/internal/conn"
)

// effectTx is the db.Tx of one effect. After an error that ended the transaction or
// that is the disk's, every further statement is refused with it.
type effectTx struct {
	w     *writer
	event db.Event // the one that is settled

	mu      sync.Mutex
	refused error   // the first statement that an effect may not run: the attempt has failed
	broken  error   // why nothing runs any more
	fatal   bool    // broken is the group's trouble, not only the effect's
	rows    []given // to be closed at the end
	emitted int
}

// given are rows that the effect got.
type given struct {
	cursor *conn.Cursor
	rows   any // *sql.Rows or *sql.Row
}

var errTxOver = errors.New("the effect has ended; its transaction can't be used any more")

// Context returns a context for sqlc's generated code. It is never cancelled.
func (tx *effectTx) Context() context.Context { return context.Background() }

// PrepareContext is refused: ExecContext and QueryContext keep statements prepared.
func (tx *effectTx) PrepareContext(context.Context, string) (*sql.Stmt, error) {
	return nil, errors.New("an effect need not prepare statements: Exec and Query keep them prepared")
}

// ExecContext runs a statement. What it returns of rows is let go.
func (tx *effectTx) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	var room [8]conn.Value
	values, names, ok := conn.Convert(room[:0], args) // may call the effect's code, which may take its time
	tx.mu.Lock()
	defer tx.mu.Unlock()
	h := tx.w.conn
	h.Lock()
	defer h.Unlock()
	s, err := tx.prepare(query)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	if ok {
		values, ok = s.Arrange(values, names)
	}
	if !ok {
		return nil, tx.odd(query, args)
	}
	n, err := s.Exec(values...)
	if err != nil {
		return nil, tx.judge(err)
	}
	return result{h.LastInsert(), n}, nil
}

// QueryContext runs a statement that returns rows. They end with the effect.
func (tx *effectTx) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	var room [8]conn.Value
	values, names, ok := conn.Convert(room[:0], args)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	c, err := tx.query(query, args, values, names, ok)
	if err != nil {
		return nil, err
	}
	rows, err := tx.w.conn.Rows(c)
	tx.rows = append(tx.rows, given{c, rows})
	return rows, err
}

// QueryRowContext runs a statement that returns one row. Its error comes from Scan.
func (tx *effectTx) QueryRowContext(_ context.Context, query string, args ...any) *sql.Row {
	var room [8]conn.Value
	values, names, ok := conn.Convert(room[:0], args)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	c, err := tx.query(query, args, values, names, ok)
	if err != nil {
		return conn.FailedRow(err)
	}
	row := tx.w.conn.Row(c)
	tx.rows = append(tx.rows, given{c, row})
	return row
}

// query runs a statement up to its first row. ok says whether values are those of
// args. tx.mu is held.
func (tx *effectTx) query(query string, args []any, values []conn.Value, names []string, ok bool) (*conn.Cursor, error) {
	h := tx.w.conn
	h.Lock()
	defer h.Unlock()
	s, err := tx.prepare(query)
	if err != nil {
		return nil, err
	}
	if ok {
		values, ok = s.Arrange(values, names)
	}
	if !ok {
		s.Release()
		return nil, tx.odd(query, args)
	}
	c, err := s.Query(values)
	if err != nil {
		s.Release()
		return nil, tx.judge(err)
	}
	return c, nil
}

// odd returns the error of database/sql or the driver for arguments that can't be
// converted, or are too few. Arguments are checked before anything runs.
func (tx *effectTx) odd(query string, args []any) error {
	if _, err := tx.w.conn.SQL.ExecContext(background, query, args...); err != nil {
		return tx.judge(err)
	}
	return errors.New("these arguments can't be given to a statement")
}

type result struct{ id, changed int64 }

func (r result) LastInsertId() (int64, error) { return r.id, nil }
func (r result) RowsAffected() (int64, error) { return r.changed, nil }

// Emit appends ev in the effect's transaction, see db.Tx.
func (tx *effectTx) Emit(ev db.Event) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	_, err := tx.emit(ev)
	return err
}

// EmitReceipt is Emit, and returns the event's receipt, see db.Tx.
func (tx *effectTx) EmitReceipt(ev db.Event) (db.Receipt, error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	r, err := tx.emit(ev)
	if err != nil || !r.Duplicate {
		return r, err
	}
	tx.w.conn.Lock()
	defer tx.w.conn.Unlock()
	ended, err := tx.w.q.ResultOf(background, r.Seq)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		scheduled, err := tx.w.q.IsScheduled(background, r.Seq)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return r, tx.judge(fmt.Errorf("look for delivery: %w", err))
		}
		r.State = stateIn(sql.NullString{}, sql.NullInt64{Int64: scheduled, Valid: true})
		return r, nil
	case err != nil:
		return r, tx.judge(fmt.Errorf("look for result: %w", err))
	}
	r.State = db.State(ended.Status)
	return r, nil
}

// emit appends ev, and returns its receipt as if it were new. tx.mu is held.
func (tx *effectTx) emit(ev db.Event) (db.Receipt, error) {
	tx.w.conn.Lock()
	defer tx.w.conn.Unlock()
	if tx.broken != nil {
		return db.Receipt{}, tx.broken
	}
	if tx.emitted++; tx.emitted > db.MaxEmit {
		return db.Receipt{}, fmt.Errorf("an effect may emit %d events", db.MaxEmit)
	}
	if ev.RequestID == "" {
		ev.RequestID = tx.event.RequestID
	}
	if ev.Attrs == nil {
		ev.Attrs = tx.event.Attrs
	}
	ev, err := tx.complete(ev)
	if err != nil {
		return db.Receipt{}, fmt.Errorf("emit %s %s: %w", ev.ClientID, ev.MessageID, err)
	}
	if err := tx.w.writable(ev.ClientID); err != nil {
		return db.Receipt{}, fmt.Errorf("emit %s: %w", ev.MessageID, err)
	}
	if err := tx.standing(); err != nil {
		return db.Receipt{}, err
	}
	seq, duplicate, err := tx.add(ev)
	err = tx.judge(err)
	if _, reused := errors.AsType[*db.IDReusedError](err); err != nil && !reused && tx.broken == nil {
		// The event may be half appended, which no effect may swallow.
		tx.broken, tx.fatal = &commit.Error{Class: commit.TxAborted, Err: err}, true
	}
	return db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: seq, Duplicate: duplicate, State: stateOf(&ev, tx.w.now)}, err
}

// prepare returns the kept statement of a text, or another one while rows of that
// are open: running it again would end the rows. tx.mu and the handle are held.
func (tx *effectTx) prepare(query string) (*conn.Stmt, error) {
	if tx.broken != nil {
		return nil, tx.broken
	}
	if err := tx.standing(); err != nil {
		return nil, err
	}
	kept, ok := tx.w.effectStmts[query]
	if ok && !kept.Open {
		return kept, nil
	}
	s, err := tx.w.conn.PrepareRows(query)
	if conn.IsRefusal(err) {
		err = fmt.Errorf("an effect's statement: %w: %s", err, bounded(query))
		if tx.refused == nil {
			tx.refused = err
		}
		return nil, err
	}
	if err != nil {
		return nil, tx.judge(err)
	}
	if ok {
		s.Once = true
		return s, nil
	}
	if len(tx.w.effectStmts) >= maxEffectStmts { // texts made of values: keep the memory bounded
		for text, old := range tx.w.effectStmts {
			if !old.Open {
				old.Close()
				delete(tx.w.effectStmts, text)
			}
		}
	}
	tx.w.effectStmts[query] = s
	return s, nil
}

const maxEffectStmts = 512

// bounded cuts a statement's text for an error.
func bounded(text string) string {
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.Quote(text)
}

// judge looks at an error before the effect may swallow it: one that ended the
// transaction, or that is the disk's, ends the Tx. tx.mu is held.
func (tx *effectTx) judge(err error) error {
	if err == nil || tx.broken != nil {
		return err
	}
	switch classify(tx.w.conn, err) {
	case commit.Own, commit.Busy: // the write lock is ours, so nobody else is busy
		if !tx.w.conn.InTransaction() {
			tx.broken, tx.fatal = &commit.Error{Class: commit.TxAborted, Err: fmt.Errorf("a statement of the effect ended the transaction: %w", err)}, true
			return tx.broken
		}
		return err
	default:
		tx.broken, tx.fatal = err, true
		return err
	}
}

// standing looks whether the transaction is still there: reading on in rows may
// have ended it (https://www.sqlite.org/lang_transaction.html, section 3). tx.mu is held.
func (tx *effectTx) standing() error {
	if !tx.w.conn.InTransaction() {
		tx.broken, tx.fatal = &commit.Error{Class: commit.TxAborted, Err: errors.New("the effect's transaction has ended")}, true
	}
	return tx.broken
}

// stop makes every further statement fail with err.
func (tx *effectTx) stop(err error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.broken == nil {
		tx.broken = err
	}
}

// close ends the Tx and the rows it gave out, and returns the trouble of the
// group that the effect may have swallowed.
func (tx *effectTx) close() error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	for _, g := range tx.rows {
		if closed, err := g.cursor.End(); closed {
			_ = tx.judge(err)
			continue
		}
		switch r := g.rows.(type) {
		case *sql.Rows:
			if err := errors.Join(r.Err(), r.Close()); err != nil {
				_ = tx.judge(err)
			}
		case *sql.Row:
			_ = r.Scan() // closes it; a row that was scanned stays as it is
		}
	}
	tx.rows = nil
	err := tx.broken
	tx.broken = errTxOver
	if tx.fatal {
		return err
	}
	return nil
}
