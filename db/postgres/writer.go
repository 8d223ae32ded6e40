package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
	"inturn/db/internal/commit"
)

// writer is the connection that writes, and what belongs to it. Only the committer's
// goroutine uses it, but for number.
type writer struct {
	conn     *pgx.Conn
	id       int64
	epoch    int64
	memory   *memory
	limits   limits
	check    db.Check
	observer db.Observer
	events   eventLog
	log      *slog.Logger
	erasing  *erasing
	texts    *texts
	rows     *rowsAdapter
	doubtful atomic.Bool // a notice said that a commit may not be on the standby

	numbers struct {
		sync.Mutex
		next, end int64
	}
}

type limits struct {
	pending, accountPending int           // 0: none
	effect                  time.Duration // that one effect may take
}

// maxTrip bounds a round trip: a server, or a network, that is silent for so long has gone.
// COMMIT, which may wait for a standby for ever, has no other bound.
const maxTrip = 30 * time.Second

// call is a statement and what becomes of it.
type call struct {
	text string
	args []any
	read func(pgx.Rows) error // nil: rows are let go
	tag  pgconn.CommandTag
}

// trip sends calls together and reads their answers. On an error it returns whose it is:
// those after it were not executed. The index is -1 where it is nobody's.
func (w *writer) trip(calls ...*call) (at int, err error) {
	ctx, cancel := context.WithTimeout(background, maxTrip)
	defer cancel()
	b := &pgx.Batch{}
	for _, c := range calls {
		b.Queue(c.text, c.args...)
	}
	answers := w.conn.SendBatch(ctx, b)
	defer func() {
		if cerr := answers.Close(); err == nil && cerr != nil {
			at, err = -1, cerr
		}
	}()
	for i, c := range calls {
		rows, err := answers.Query()
		if err == nil && c.read != nil {
			err = c.read(rows)
		}
		rows.Close()
		if rerr := rows.Err(); rerr != nil {
			err = rerr
		}
		if err != nil {
			return i, err
		}
		c.tag = rows.CommandTag()
	}
	return -1, nil
}

// rollback ends a transaction without a trace. An error means that the connection has gone.
func (w *writer) rollback() error {
	if w.conn.PgConn().TxStatus() == 'I' && !w.conn.IsClosed() {
		return nil
	}
	_, err := w.trip(&call{text: "ROLLBACK"})
	return err
}

func (w *writer) begin() []*call {
	return []*call{{text: "BEGIN"}, {
		text: `SELECT 1 / count(*) FROM (SELECT 1 FROM writers WHERE id = $1 AND epoch = $2 AND pid = pg_backend_pid() FOR SHARE) f`,
		args: []any{w.id, w.epoch},
	}}
}

// fenceAt is the place of the fence in begin.
const fenceAt = 1

// fenced judges an error of the call at.
func (w *writer) fenced(at int, err error) error {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && at == fenceAt && pe.Code == "22012" { // division_by_zero
		return fmt.Errorf("%w (our epoch is %d)", db.ErrFenced, w.epoch)
	}
	return err
}

// commit sends calls and COMMIT.
func (w *writer) commit(calls ...*call) error {
	end := &call{text: "COMMIT"}
	calls = append(calls, end)
	w.doubtful.Store(false)
	at, err := w.trip(calls...)
	switch {
	case err == nil && end.tag.String() != "COMMIT":
		return failure(commit.Own, nil, errors.New("commit: the transaction had failed"))
	case w.doubtful.Load():
		return failure(commit.IO, nil, fmt.Errorf("%w: the server gave up waiting for the standby", db.ErrOutcomeUnknown))
	case err == nil:
		return nil
	}
	class := classify(err)
	err = fmt.Errorf("commit: %w", err)
	if class == commit.IO && (at < 0 || at == len(calls)-1 || w.conn.IsClosed()) {
		err = fmt.Errorf("%w: %w", db.ErrOutcomeUnknown, err)
	}
	return failure(class, nil, err)
}

// notice hears what the server says beside its answers. A COMMIT whose wait for the
// standby was cancelled, or cut short by the server's end, is answered as if it were done.
func (w *writer) notice(n *pgconn.Notice) {
	if n.Code == "01000" || n.Code == "57P01" {
		w.doubtful.Store(true)
	}
}

// Blocks of numbers. A transaction begins with lowNumbers left at least.
const (
	blockBits  = 20
	lowNumbers = 1 << 17
)

// reserve draws a block of numbers where few are left.
func (w *writer) reserve() error {
	w.numbers.Lock()
	defer w.numbers.Unlock()
	if w.numbers.end-w.numbers.next >= lowNumbers {
		return nil
	}
	var block int64
	_, err := w.trip(&call{text: "SELECT nextval('blocks')", read: func(rows pgx.Rows) error {
		rows.Next()
		return rows.Scan(&block)
	}})
	if err != nil {
		return fmt.Errorf("draw numbers: %w", err)
	}
	w.numbers.next, w.numbers.end = block<<blockBits, (block+1)<<blockBits
	return nil
}

var errNumbers = errors.New("one transaction writes too many rows")

// number returns the next number, of seqs, positions and the order of settles.
func (w *writer) number() (int64, error) {
	w.numbers.Lock()
	defer w.numbers.Unlock()
	if w.numbers.next == w.numbers.end {
		return 0, errNumbers
	}
	w.numbers.next++
	return w.numbers.next - 1, nil
}

// nextNumber is the number that will be drawn next, or a smaller one.
func (w *writer) nextNumber() int64 {
	w.numbers.Lock()
	defer w.numbers.Unlock()
	return w.numbers.next
}

// transactionOf is a transaction of one operation, whose statements are sent one by one.
type transactionOf struct {
	w   *writer
	d   *delta
	now int64 // Unix microseconds
}

// exec runs a statement and returns how many rows it changed.
func (t *transactionOf) exec(text string, args ...any) (int64, error) {
	c := &call{text: text, args: args}
	_, err := t.w.trip(c)
	return c.tag.RowsAffected(), err
}

// row reads the first row of a query. pgx.ErrNoRows: there is none.
func (t *transactionOf) row(text string, args []any, into ...any) error {
	found := false
	_, err := t.w.trip(&call{text: text, args: args, read: func(rows pgx.Rows) error {
		if found = rows.Next(); !found {
			return rows.Err()
		}
		return rows.Scan(into...)
	}})
	if err == nil && !found {
		err = pgx.ErrNoRows
	}
	return err
}

// solo runs an operation that has the transaction to itself.
func (w *writer) solo(o *op, d *delta) error {
	if at, err := w.trip(w.begin()...); err != nil {
		err = w.fenced(at, err)
		return failure(ofGroup(err), nil, err)
	}
	t := &transactionOf{w: w, d: d, now: time.Now().UnixMicro()}
	if err := o.Work.(*soloOp).fn(t); err != nil {
		return failure(ownUnlessServer(err), o, err)
	}
	return w.commit()
}

// ownUnlessServer sorts an error of an operation's function: what the server did not send
// is a refusal, or the connection's end.
func ownUnlessServer(err error) commit.Class {
	_, server := errors.AsType[*pgconn.PgError](err)
	if c := classify(err); server || c == commit.Fenced {
		return c
	}
	if _, ok := errors.AsType[refusal](err); ok {
		return commit.Own
	}
	return commit.IO
}

// ofGroup sorts an error of a statement of the engine's: one that is nobody's own is the
// server's.
func ofGroup(err error) commit.Class {
	c := classify(err)
	if c == commit.Own {
		c = commit.IO
	}
	return c
}

// refusal is an operation's own error.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }
