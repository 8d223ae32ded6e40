package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// reader reads beside the writer. Each statement is one snapshot.
type reader struct {
	address address
	pool    *pool
	lanes   *pool     // the runner's, which no client's reads can take
	lists   semaphore // of reads that may walk much of a table
	erasing *erasing
}

// Bounds of the connections that read.
const (
	maxReaders     = 6
	maxLaneReaders = 3
	maxLists       = 2
)

// readTime bounds a read, and longReadTime an operator's act on an account with a long history.
const (
	readTime     = 10 * time.Second
	longReadTime = time.Minute
)

// semaphore is a number of places.
type semaphore chan struct{}

// take waits for a place until ctx ends: ErrOverloaded then. It returns what gives the place
// back.
func (s semaphore) take(ctx context.Context) (release func(), err error) {
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: as many lists as may be are being read: %w", db.ErrOverloaded, ctx.Err())
	}
}

// pool is connections that read. They are opened as they are needed.
type pool struct {
	address address
	places  semaphore

	mu     sync.Mutex
	idle   []*pgx.Conn
	closed bool
}

func newPool(a address, n int) *pool { return &pool{address: a, places: make(semaphore, n)} }

// with lends a connection to fn. One whose transaction, or whose wire, has broken is not
// lent again.
func (p *pool) with(ctx context.Context, fn func(c *pgx.Conn) error) error {
	release, err := p.places.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	err = fn(c)
	p.give(c)
	return err
}

func (p *pool) take(ctx context.Context) (*pgx.Conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, db.ErrClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return p.address.connect(ctx, "default_transaction_read_only = on", "statement_timeout = 0", "jit = off")
}

func (p *pool) give(c *pgx.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.IsClosed() || c.PgConn().TxStatus() != 'I' {
		closeConn(c)
		return
	}
	p.idle = append(p.idle, c)
}

func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(background, time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		closeConn(c)
	}
	p.idle = nil
}

// row reads the first row of a query. pgx.ErrNoRows: there is none.
func (r *reader) row(ctx context.Context, text string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	return r.pool.with(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, text, args...).Scan(into...) })
}

// rows calls each for every row of a query, until it returns false.
func (r *reader) rows(ctx context.Context, p *pool, text string, args []any, each func(rows pgx.Rows) (bool, error)) error {
	return p.with(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if more, err := each(rows); err != nil || !more {
				return err
			}
		}
		return rows.Err()
	})
}

// page bounds the length of a list.
func page(limit int) int { return min(max(limit, 1), 1000) }

func unixMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

func rawJSON(s *string) json.RawMessage {
	if s == nil {
		return nil
	}
	return json.RawMessage(*s)
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func numberOf(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

func (s *settled) result() *db.Result {
	return &db.Result{
		Status: db.State(s.status), Run: s.run, Attempts: int(s.attempts), StartedAt: unixMicro(s.started), FinishedAt: unixMicro(s.finished),
		Output: rawJSON(s.output), Error: textOf(s.reason),
	}
}

// storedColumns are the columns of an event and its result that scanStored reads.
const storedColumns = `o.seq, o.client_id, o.message_id, o.type, o.payload, o.received_at, o.request_id, o.attrs,
	r.status, r.run, r.attempts, r.started_at, r.finished_at, r.output, r.error`

func scanStored(row pgx.Row) (s db.StoredEvent, err error) {
	var attrs, status, output, reason *string
	var received int64
	var run, attempts, started, finished *int64
	var payload string
	err = row.Scan(&s.Seq, &s.ClientID, &s.MessageID, &s.Type, &payload, &received, &s.RequestID, &attrs,
		&status, &run, &attempts, &started, &finished, &output, &reason)
	if err != nil {
		return s, err
	}
	s.Payload, s.Attrs, s.ReceivedAt, s.State = json.RawMessage(payload), rawJSON(attrs), unixMicro(received), db.Pending
	if status != nil {
		ended := settled{run: *run, status: *status, attempts: *attempts, started: *started, finished: *finished, output: output, reason: reason}
		s.State, s.Result = db.State(*status), ended.result()
	}
	return s, nil
}

// Find returns the event with this identity, or ErrNotFound.
func (r *reader) Find(ctx context.Context, clientID, messageID string) (s db.StoredEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	err = r.pool.with(ctx, func(c *pgx.Conn) (err error) {
		s, err = scanStored(c.QueryRow(ctx, `SELECT `+storedColumns+` FROM outbox o LEFT JOIN results r ON r.seq = o.seq
			WHERE o.client_id = $1 AND o.message_id = $2`, clientID, messageID))
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return s, db.ErrNotFound
	}
	if err != nil {
		return s, fmt.Errorf("find event: %w", err)
	}
	return s, nil
}

// Result returns how the event with this seq ended, nil while it is pending, and where it
// isn't kept any more.
func (r *reader) Result(ctx context.Context, seq int64) (*db.Result, error) {
	var s settled
	err := r.row(ctx, `SELECT run, status, attempts, started_at, finished_at, output, error FROM results WHERE seq = $1`, []any{seq},
		&s.run, &s.status, &s.attempts, &s.started, &s.finished, &s.output, &s.reason)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for result: %w", err)
	}
	return s.result(), nil
}

// State returns how the event with this seq ended, as Result does, without what may be large:
// Pending where there is no result.
func (r *reader) State(ctx context.Context, seq int64) (db.State, error) {
	var status string
	err := r.row(ctx, `SELECT status FROM results WHERE seq = $1`, []any{seq}, &status)
	if errors.Is(err, pgx.ErrNoRows) {
		return db.Pending, nil
	}
	if err != nil {
		return "", fmt.Errorf("look for result: %w", err)
	}
	return db.State(status), nil
}

// pendingQuery merges an account's range of lanes with what is in no lane yet. $1 is the
// account, $2 the position after which it begins, $3 the limit.
const pendingQuery = `SELECT p.turn, p.run, o.seq, o.message_id, o.type, o.payload, o.received_at, o.request_id, o.attrs FROM (
		(SELECT l.turn, l.run, l.seq FROM lanes l WHERE l.client_id = $1 AND l.turn > $2 ORDER BY l.turn LIMIT $3)
		UNION ALL
		(SELECT o.seq, 1, o.seq FROM outbox o WHERE o.client_id = $1 AND o.seq > greatest($2, (SELECT filed FROM slots WHERE slot = $4))
			AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq)
			AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq)
			AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = $1 AND l.turn = o.seq)
			ORDER BY o.seq LIMIT $3)
		ORDER BY turn LIMIT $3) p
	JOIN outbox o ON o.seq = p.seq ORDER BY p.turn`

// PendingAfter reads an account's pending events with a position greater than after, in
// order, from one snapshot: up to limit events, and not more than maxBytes of payload (but
// one event at least). more says that there may be further ones.
func (r *reader) PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) (events []db.Event, more bool, err error) {
	if r.erasing.has(clientID) {
		return nil, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	bytes := 0
	err = r.rows(ctx, r.lanes, pendingQuery, []any{clientID, after, limit, slotOf(clientID)}, func(rows pgx.Rows) (bool, error) {
		ev := db.Event{ClientID: clientID}
		var payload string
		var attrs *string
		var received int64
		if err := rows.Scan(&ev.Position, &ev.Run, &ev.Seq, &ev.MessageID, &ev.Type, &payload, &received, &ev.RequestID, &attrs); err != nil {
			return false, err
		}
		if bytes += len(payload); bytes > maxBytes && len(events) > 0 {
			more = true
			return false, nil
		}
		ev.Payload, ev.Attrs, ev.ReceivedAt = json.RawMessage(payload), rawJSON(attrs), unixMicro(received)
		events = append(events, ev)
		return true, nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("read pending: %w", err)
	}
	return events, more || len(events) == limit, nil
}

// AcceptedAt returns when the event was accepted whose seq is position, or, where a later run
// has this position, the next event after it. ErrNotFound: nothing was accepted since.
func (r *reader) AcceptedAt(ctx context.Context, position int64) (time.Time, error) {
	var at int64
	err := r.row(ctx, `SELECT received_at FROM outbox WHERE seq >= $1 ORDER BY seq LIMIT 1`, []any{position}, &at)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, db.ErrNotFound
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("find event: %w", err)
	}
	return unixMicro(at), nil
}

// FreePages returns 0: which pages are free for new rows is PostgreSQL's own matter.
func (r *reader) FreePages(context.Context) (int64, error) { return 0, nil }

// Query reads rows by SQL of the caller's, all at once: it is for tests and tools. A value is
// an int64, float64, string, []byte or nil. Writes are refused.
func (r *reader) Query(ctx context.Context, query string, args ...any) (all [][]any, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	native, names := rewrite(query)
	x, err := newExecution(query, args)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	err = r.pool.with(ctx, func(c *pgx.Conn) error {
		d, err := c.Prepare(ctx, "", native)
		if err != nil {
			return err
		}
		call, err := x.call(&statement{params: d.ParamOIDs, names: names})
		if err != nil {
			return err
		}
		rows, err := c.Query(ctx, native, append([]any{pgx.QueryExecModeExec}, call.args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		return x.read(rows)
	})
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	for _, row := range x.found.rows {
		values := make([]any, len(row))
		for i, v := range row {
			values[i] = v
		}
		all = append(all, values)
	}
	return all, nil
}
