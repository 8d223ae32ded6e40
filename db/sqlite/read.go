package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// reader reads the file as of one commit, beside the writer.
type reader struct {
	readers       *sql.DB     // nil in memory
	lanes         *sql.DB     // the runner's, which no client's reads can take; nil in memory
	lists         semaphore   // of reads that may walk much of the file
	memory        *conn.Conn  // the write connection, which readers share in memory; else nil
	guard         sync.Locker // around reads, where they share it
	q             *q.Queries
	lane          *sql.Stmt // laneQuery
	laneUnflushed *sql.Stmt // unflushedQuery
	unflushed     *snapshot
	erasing       *erasing
}

// prepare prepares the statements of lanes.
func (r *reader) prepare(ctx context.Context) (err error) {
	lanes := r.queryer()
	if r.lanes != nil {
		lanes = r.lanes
	}
	if r.lane, err = lanes.PrepareContext(ctx, laneQuery); err != nil {
		return err
	}
	r.laneUnflushed, err = lanes.PrepareContext(ctx, unflushedQuery)
	return err
}

// Bounds of the connections that read, and of what they do at once: lists, of which each
// may walk much of the file, leave connections for reads of one event, and processors for
// the writer.
const (
	maxReaders     = 8
	maxLaneReaders = 4
	maxLists       = 2
)

// semaphore is a number of places.
type semaphore chan struct{}

// take waits for a place until ctx ends: ErrOverloaded then. It returns what gives the
// place back.
func (s semaphore) take(ctx context.Context) (release func(), err error) {
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: as many lists as may be are being read: %w", db.ErrOverloaded, ctx.Err())
	}
}

// close frees the statements and connections. In memory a reader may be on the writer's.
func (r *reader) close() (err error) {
	for _, s := range []*sql.Stmt{r.lane, r.laneUnflushed} {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	for _, pool := range []*sql.DB{r.readers, r.lanes} {
		if pool != nil {
			err = errors.Join(err, pool.Close())
		}
	}
	return err
}

// readTime bounds a read: one that is forgotten would keep the WAL from being reset.
const readTime = 10 * time.Second

// longReadTime is readTime for an operator's act on an account with a long history.
const longReadTime = time.Minute

// laneQuery is one range of lanes' key, and unflushedQuery merges in those of the events
// ?5 that are pending and in no lane. Payloads are read row by row, so that reading can
// end where enough bytes are there.
const (
	laneColumns = `o.seq, o.message_id, o.type, o.payload, o.received_at, o.request_id, o.attrs, d.deliver_at`
	laneEvents  = ` CROSS JOIN outbox o ON o.seq = l.seq LEFT JOIN deliveries d ON d.seq = o.seq`
	laneRange   = `lanes l WHERE l.client_id = ?1 AND l.turn > ?2 AND l.turn < ?3`

	laneQuery = `SELECT l.turn, l.run, ` + laneColumns + ` FROM (SELECT * FROM ` + laneRange + `) l
		` + laneEvents + ` ORDER BY l.turn LIMIT ?4`

	unflushedQuery = `SELECT l.turn, l.run, ` + laneColumns + ` FROM (
			SELECT l.turn AS turn, l.run, l.seq FROM ` + laneRange + `
			UNION ALL SELECT o.seq, 1, o.seq FROM json_each(?5) j CROSS JOIN outbox o ON o.seq = j.value
			WHERE NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq)
			  AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq)
			  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.turn = o.seq)
			ORDER BY turn LIMIT ?4) l
		` + laneEvents + ` ORDER BY l.turn`
)

// PendingAfter reads an account's pending events with a turn greater than after, in
// turn, from one snapshot: up to limit events, and not more than maxBytes of
// payload (but one event at least). more says that there may be further ones. It
// returns nothing that was appended, or is to run again, since it was called.
func (r *reader) PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) (events []db.Event, more bool, err error) {
	if r.erasing.has(clientID) {
		return nil, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	// This comes before the snapshot: what is flushed between the two is then in lanes. And
	// nothing beyond end is read: of what came between only a part would be seen.
	seqs, end, more := r.unflushed.waitingAfter(clientID, after, limit)
	r.guard.Lock()
	defer r.guard.Unlock()
	var rows *sql.Rows
	if len(seqs) == 0 {
		rows, err = r.lane.QueryContext(ctx, clientID, after, end, limit)
	} else {
		rows, err = r.laneUnflushed.QueryContext(ctx, clientID, after, end, limit, jsonNumbers(seqs))
	}
	if err != nil {
		return nil, false, fmt.Errorf("read pending: %w", err)
	}
	defer rows.Close()
	for bytes := 0; rows.Next(); {
		ev := db.Event{ClientID: clientID}
		var payload string
		var attrs sql.NullString
		var received int64
		var at sql.NullInt64
		if err := rows.Scan(&ev.Position, &ev.Run, &ev.Seq, &ev.MessageID, &ev.Type, &payload, &received, &ev.RequestID, &attrs, &at); err != nil {
			return nil, false, fmt.Errorf("read pending: %w", err)
		}
		if bytes += len(payload); bytes > maxBytes && len(events) > 0 {
			return events, true, nil
		}
		ev.Payload, ev.Attrs, ev.ReceivedAt, ev.DeliverAt = ownedBytes(payload), rawJSON(attrs), unixMicro(received), deliverAt(at)
		events = append(events, ev)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("read pending: %w", err)
	}
	return events, more || len(events) == limit, nil
}

// jsonNumbers returns list as a JSON array.
func jsonNumbers(list []int64) string {
	b := []byte{'['}
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return string(append(b, ']'))
}

// Find returns the event with this identity, or ErrNotFound.
func (r *reader) Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	row, err := r.q.Find(ctx, q.FindParams{ClientID: clientID, MessageID: messageID})
	r.guard.Unlock()
	if errors.Is(err, sql.ErrNoRows) {
		return db.StoredEvent{}, db.ErrNotFound
	}
	if err != nil {
		return db.StoredEvent{}, fmt.Errorf("find event: %w", err)
	}
	return stored(row), nil
}

// Result returns how the event with this seq ended, nil while it is pending, and where it
// isn't kept any more.
func (r *reader) Result(ctx context.Context, seq int64) (*db.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	row, err := r.q.ResultOf(ctx, seq)
	r.guard.Unlock()
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for result: %w", err)
	}
	return resultOf(row), nil
}

// State returns how the event with this seq ended, as Result does, without what may be large:
// Scheduled or Pending where there is no result.
func (r *reader) State(ctx context.Context, seq int64) (db.State, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	row, err := r.q.Ending(ctx, seq)
	if err == nil {
		return db.State(row.Status), nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look for result: %w", err)
	}
	scheduled, err := r.q.IsScheduled(ctx, seq)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look for delivery: %w", err)
	}
	return stateIn(sql.NullString{}, sql.NullInt64{Int64: scheduled, Valid: true}), nil
}

// stored reads events: from is the query's part between FROM and ORDER BY, with the
// tables outbox o, results r and deliveries d. It ends with the event by which all have maxBytes (0: any).
func (r *reader) stored(ctx context.Context, from, order string, limit, maxBytes int, args []any) ([]db.StoredEvent, error) {
	query := `SELECT o.seq, o.client_id, o.message_id, o.type, o.payload, o.received_at, o.request_id, o.attrs,
			r.status, r.run, r.attempts, r.started_at, r.finished_at, r.output, r.error, d.deliver_at, d.scheduled
		FROM ` + from + fmt.Sprintf(" ORDER BY %s LIMIT %d", order, limit)
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.queryer().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer rows.Close()
	var list []db.StoredEvent
	for bytes := 0; rows.Next(); {
		var row q.FindRow
		err := rows.Scan(&row.Seq, &row.ClientID, &row.MessageID, &row.Type, &row.Payload, &row.ReceivedAt, &row.RequestID, &row.Attrs,
			&row.Status, &row.Run, &row.Attempts, &row.StartedAt, &row.FinishedAt, &row.Output, &row.Error, &row.DeliverAt, &row.Scheduled)
		if err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		list = append(list, stored(row))
		if bytes += list[len(list)-1].Size(); maxBytes > 0 && bytes >= maxBytes {
			return list, nil
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return list, nil
}

// queryer is where reads go: in memory there is only the write connection.
func (r *reader) queryer() q.DBTX {
	if r.memory != nil {
		return r.memory.SQL
	}
	return r.readers
}

func stored(r q.FindRow) db.StoredEvent {
	s := db.StoredEvent{State: stateIn(r.Status, r.Scheduled), Event: db.Event{
		ClientID: r.ClientID, MessageID: r.MessageID, Type: r.Type, Payload: ownedBytes(r.Payload),
		RequestID: r.RequestID, Attrs: rawJSON(r.Attrs), Seq: r.Seq, ReceivedAt: unixMicro(r.ReceivedAt),
		DeliverAt: deliverAt(r.DeliverAt),
	}}
	if r.Status.Valid {
		s.Result = resultOf(q.Result{
			Status: r.Status.String, Run: r.Run.Int64, Attempts: r.Attempts.Int64,
			StartedAt: r.StartedAt.Int64, FinishedAt: r.FinishedAt.Int64, Output: r.Output, Error: r.Error,
		})
	}
	return s
}

// stateIn returns the state that the columns status of results and scheduled of deliveries say.
func stateIn(status sql.NullString, scheduled sql.NullInt64) db.State {
	switch {
	case status.Valid:
		return db.State(status.String)
	case scheduled.Int64 == 1:
		return db.Scheduled
	}
	return db.Pending
}

func resultOf(r q.Result) *db.Result {
	return &db.Result{
		Status: db.State(r.Status), Run: r.Run, Attempts: int(r.Attempts), StartedAt: unixMicro(r.StartedAt),
		FinishedAt: unixMicro(r.FinishedAt), Output: rawJSON(r.Output), Error: r.Error.String,
	}
}

func rawJSON(s sql.NullString) json.RawMessage {
	if !s.Valid {
		return nil
	}
	return ownedBytes(s.String)
}

// ownedBytes returns the bytes of a column's text, which has just been read and which nothing
// else refers to, without the copy that a conversion makes: payloads and results are large.
func ownedBytes(s string) json.RawMessage {
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

func unixMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }
