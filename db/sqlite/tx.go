package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"inturn/db"
)

// effectTx is the db.Tx of one effect. After an error that ended the transaction or
// that is the disk's, every further statement is refused with it.
type effectTx struct {
	w     *writer
	event db.Event // the one that is settled

	mu      sync.Mutex
	broken  error   // why nothing runs any more
	fatal   bool    // broken is the group's trouble, not only the effect's
	rows    []given // to be closed at the end
	emitted int
}

// given are rows that the effect got.
type given struct {
	cursor *cursor
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
	var room [8]value
	values, names, ok := convert(room[:0], args) // may call the effect's code, which may take its time
	tx.mu.Lock()
	defer tx.mu.Unlock()
	h := tx.w.handle
	h.use.Lock()
	defer h.use.Unlock()
	s, err := tx.prepare(query)
	if err != nil {
		return nil, err
	}
	defer s.release()
	if ok {
		values, ok = s.arrange(values, names)
	}
	if !ok {
		return nil, tx.odd(query, args)
	}
	n, err := s.exec(values...)
	if err != nil {
		return nil, tx.judge(err)
	}
	return result{h.lastInsert(), n}, nil
}

// QueryContext runs a statement that returns rows. They end with the effect.
func (tx *effectTx) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	var room [8]value
	values, names, ok := convert(room[:0], args)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	c, err := tx.query(query, args, values, names, ok)
	if err != nil {
		return nil, err
	}
	rows, err := tx.w.wrap.rows(c)
	tx.rows = append(tx.rows, given{c, rows})
	return rows, err
}

// QueryRowContext runs a statement that returns one row. Its error comes from Scan.
func (tx *effectTx) QueryRowContext(_ context.Context, query string, args ...any) *sql.Row {
	var room [8]value
	values, names, ok := convert(room[:0], args)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	c, err := tx.query(query, args, values, names, ok)
	if err != nil {
		return failedRow(err)
	}
	row := tx.w.wrap.row(c)
	tx.rows = append(tx.rows, given{c, row})
	return row
}

// query runs a statement up to its first row. ok says whether values are those of
// args. tx.mu is held.
func (tx *effectTx) query(query string, args []any, values []value, names []string, ok bool) (*cursor, error) {
	h := tx.w.handle
	h.use.Lock()
	defer h.use.Unlock()
	s, err := tx.prepare(query)
	if err != nil {
		return nil, err
	}
	if ok {
		values, ok = s.arrange(values, names)
	}
	if !ok {
		s.release()
		return nil, tx.odd(query, args)
	}
	c, err := s.query(values)
	if err != nil {
		s.release()
		return nil, tx.judge(err)
	}
	return c, nil
}

// odd returns what database/sql and the driver say of arguments that can't be had as
// values, or are too few: they look at them before they run anything.
func (tx *effectTx) odd(query string, args []any) error {
	if _, err := tx.w.conn.ExecContext(background, query, args...); err != nil {
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
	tx.w.handle.use.Lock()
	defer tx.w.handle.use.Unlock()
	ended, err := tx.w.q.ResultOf(background, r.Seq)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, nil
	case err != nil:
		return r, tx.judge(fmt.Errorf("look for result: %w", err))
	}
	r.State = db.State(ended.Status)
	return r, nil
}

// emit appends ev, and returns its receipt as if it were pending. tx.mu is held.
func (tx *effectTx) emit(ev db.Event) (db.Receipt, error) {
	tx.w.handle.use.Lock()
	defer tx.w.handle.use.Unlock()
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
	ev, err := tx.w.complete(ev)
	if err != nil {
		return db.Receipt{}, fmt.Errorf("emit %s %s: %w", ev.ClientID, ev.MessageID, err)
	}
	if tx.w.erasing.has(ev.ClientID) {
		return db.Receipt{}, fmt.Errorf("emit %s: %w", ev.MessageID, db.ErrErasing)
	}
	if err := tx.standing(); err != nil {
		return db.Receipt{}, err
	}
	seq, duplicate, err := tx.w.emit(ev)
	err = tx.judge(err)
	if _, reused := errors.AsType[*db.IDReusedError](err); err != nil && !reused && tx.broken == nil {
		// The event may be half appended, which no effect may swallow.
		tx.broken, tx.fatal = &groupError{classGone, err}, true
	}
	return db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: seq, Duplicate: duplicate, State: db.Pending}, err
}

// prepare returns the kept statement of a text, or another one while rows of that
// are open: running it again would end them. tx.mu and the handle are held.
func (tx *effectTx) prepare(query string) (*stmt, error) {
	if tx.broken != nil {
		return nil, tx.broken
	}
	if err := tx.standing(); err != nil {
		return nil, err
	}
	kept, ok := tx.w.effectStmts[query]
	if ok && !kept.open {
		return kept, nil
	}
	if err := checkStatement(query); err != nil {
		return nil, err
	}
	s, err := tx.w.handle.prepareFor(query)
	if err != nil {
		return nil, tx.judge(err)
	}
	if ok {
		s.once = true
		return s, nil
	}
	if len(tx.w.effectStmts) >= maxEffectStmts { // texts made of values: keep the memory bounded
		for text, old := range tx.w.effectStmts {
			if !old.open {
				old.close()
				delete(tx.w.effectStmts, text)
			}
		}
	}
	tx.w.effectStmts[query] = s
	return s, nil
}

const maxEffectStmts = 512

// judge looks at an error before the effect may swallow it: one that ended the
// transaction, or that is the disk's, ends the Tx. tx.mu is held.
func (tx *effectTx) judge(err error) error {
	if err == nil || tx.broken != nil {
		return err
	}
	switch tx.w.handle.classify(err) {
	case classOwn, classBusy: // the write lock is ours, so nobody else is busy
		if !tx.w.handle.inTransaction() {
			tx.broken, tx.fatal = &groupError{classGone, fmt.Errorf("a statement of the effect ended the transaction: %w", err)}, true
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
	if !tx.w.handle.inTransaction() {
		tx.broken, tx.fatal = &groupError{classGone, errors.New("the effect's transaction has ended")}, true
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
		if closed, err := g.cursor.end(); closed {
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

// failedRow makes a row whose Scan returns err: database/sql has no other way to
// one than a connection that can't be had.
func failedRow(err error) *sql.Row {
	db := sql.OpenDB(noConnection{err})
	defer db.Close()
	return db.QueryRowContext(context.Background(), "")
}

type noConnection struct{ err error }

func (c noConnection) Connect(context.Context) (driver.Conn, error) { return nil, c.err }
func (c noConnection) Driver() driver.Driver                        { return nil }
