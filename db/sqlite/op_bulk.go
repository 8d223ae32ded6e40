package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"inturn/db"
	"inturn/db/internal/commit"
	"inturn/db/sqlite/internal/q"
)

// bulkChunk is how many accounts or events of a BulkCommand one transaction does.
const bulkChunk = 500

// ExecuteAll does b, 500 accounts or events a transaction, each with its own row in
// audit, and returns when it has come to the end. If ctx ends first, what was done
// stays done (see BulkCommand.Key), and is returned with the error. Errors as of Execute.
func (d *DB) ExecuteAll(ctx context.Context, b db.BulkCommand) (db.BulkResult, error) {
	if err := b.Check(); err != nil {
		return db.BulkResult{}, err
	}
	run := &bulkRun{d.reader, d.committer, b}
	if b.DryRun {
		return run.count(ctx)
	}
	return run.all(ctx)
}

// bulkRun is the run of one BulkCommand.
type bulkRun struct {
	*reader
	committer *commit.Committer[work]
	db.BulkCommand
}

func (b *bulkRun) all(ctx context.Context) (db.BulkResult, error) {
	op, err := b.chunk(ctx, &bulkOp{bulk: b.BulkCommand}) // finds or makes the row in audit
	if err != nil {
		return db.BulkResult{}, err
	}
	done := db.BulkResult{ID: op.id, Count: op.state.Count, Again: op.state.Ended}
	for !op.state.Ended {
		next := &bulkOp{bulk: b.BulkCommand, id: op.id, from: op.state}
		if next.targets, err = b.targets(ctx, op.state); err != nil {
			return done, err
		}
		if op, err = b.chunk(ctx, next); err != nil {
			return done, err
		}
		done.Count = op.state.Count
	}
	return done, nil
}

// chunk lets the committer do op.
func (b *bulkRun) chunk(ctx context.Context, op *bulkOp) (*bulkOp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	op.Work, op.Size, op.RetriedWhenFull, op.Person = op, 4096+1024*len(op.targets), true, true
	if err := b.committer.Do(ctx, &op.operation); err != nil {
		return nil, err
	}
	return op, nil
}

// bulkState is how far a BulkCommand is. It stands in its row of audit as the answer, and
// grows in the transactions that do the work: after a crash it is right.
type bulkState struct {
	Since    int64  `json:"since,omitempty"` // as the BulkCommand says, Unix microseconds
	Count    int64  `json:"count"`
	ClientID string `json:"after_client,omitempty"` // the last account that was looked at
	Seq      int64  `json:"after_seq,omitempty"`    // the last event, of a Redrive
	Ended    bool   `json:"ended"`
}

// bulkOp does the next targets, or, where id is 0, finds or makes the row in audit.
type bulkOp struct {
	operation
	bulk    db.BulkCommand
	id      int64
	from    bulkState // the targets were read from here on
	targets []db.Command
	state   bulkState // after it
}

func (o *bulkOp) run(w *writer, _ int) error {
	o.state = bulkState{}
	if o.id == 0 {
		return o.begin(w)
	}
	return o.next(w)
}

// begin finds or makes the row in audit.
func (o *bulkOp) begin(w *writer) error {
	b := o.bulk
	p := auditOf(db.Command{Verb: b.Verb, Type: b.Type, Who: b.Who, Reason: b.Reason, Key: b.Key}, b.ClientID)
	if b.Key != "" {
		row, err := w.q.AuditByKey(background, text(b.Key))
		if err == nil {
			if err := json.Unmarshal([]byte(row.Answer), &o.state); err != nil {
				return refusal{fmt.Errorf("read audit %d: %w", row.ID, err)}
			}
			if !row.Bulk.Valid || row.Verb != p.Verb || row.ClientID != p.ClientID || row.Type != p.Type || o.state.Since != since(b) {
				return refusal{db.ErrKeyReused}
			}
			o.id = row.ID
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look for key: %w", err)
		}
	}
	o.state.Since = since(b)
	state, err := json.Marshal(o.state)
	if err != nil {
		return err
	}
	p.At, p.Bulk, p.Answer = w.now, sql.NullInt64{Valid: true}, string(state)
	id, err := w.q.InsertAudit(background, p)
	if err != nil {
		return fmt.Errorf("insert audit: %w", err)
	}
	o.id = id
	return nil
}

// next does the targets that are still as they were read; each is an act of its own.
func (o *bulkOp) next(w *writer) error {
	stored, err := w.q.AuditAnswer(background, o.id)
	if err != nil {
		return fmt.Errorf("read audit: %w", err)
	}
	if err := json.Unmarshal([]byte(stored), &o.state); err != nil {
		return fmt.Errorf("read audit %d: %w", o.id, err)
	}
	if o.state != o.from {
		return nil // the same BulkCommand goes on elsewhere: read again from where it is
	}
	for _, a := range o.targets {
		acted, err := o.target(w, a)
		switch {
		case err != nil:
			return err
		case acted:
			o.state.Count++
		}
		o.state.ClientID, o.state.Seq = a.ClientID, a.Seq
	}
	o.state.Ended = len(o.targets) < bulkChunk
	state, err := json.Marshal(o.state)
	if err != nil {
		return err
	}
	return w.q.AnswerAudit(background, q.AnswerAuditParams{Answer: string(state), ID: o.id})
}

// target reports whether there was something to do.
func (o *bulkOp) target(w *writer, a db.Command) (bool, error) {
	if a.Verb != db.Redrive {
		s, err := w.q.Standing(background, a.ClientID)
		if err != nil || s.Parked == 0 {
			return false, err
		}
	}
	x := execution{w: w, Command: a, bulk: o.id}
	err := x.do()
	if _, ok := err.(refusal); ok { // nothing was written: it has changed since it was read
		return false, nil
	}
	return x.result.Changed, err
}

func since(b db.BulkCommand) int64 {
	if b.Since.IsZero() {
		return 0
	}
	return b.Since.UnixMicro()
}

// What a BulkCommand is done to, by an index that holds nothing else.
const (
	parkedQuery = `accounts a INDEXED BY accounts_parked JOIN outbox o ON o.seq = a.head_seq
		WHERE a.parked = 1 AND a.client_id > ?1 AND (?2 = '' OR a.client_id = ?2) AND (?3 = '' OR o.type = ?3)`
	deadQuery = `results r INDEXED BY results_dead JOIN outbox o ON o.seq = r.seq LEFT JOIN deliveries d ON d.seq = o.seq
		WHERE r.status = 'dead' AND r.seq > ?1 AND (?2 = '' OR o.client_id = ?2) AND (?3 = '' OR o.type = ?3) AND r.finished_at >= ?4`
)

func bulkQuery(b db.BulkCommand, s bulkState) (query, columns, order string, args []any) {
	if b.Verb == db.Redrive {
		return deadQuery, "o.client_id, r.seq, r.run", "r.seq", []any{s.Seq, b.ClientID, b.Type, since(b)}
	}
	return parkedQuery, "a.client_id, a.head_seq, 0", "a.client_id", []any{s.ClientID, b.ClientID, b.Type}
}

// targets returns the next accounts or events of a bulk command. It reads outside of the
// committer.
func (b *bulkRun) targets(ctx context.Context, s bulkState) ([]db.Command, error) {
	ctx, cancel := context.WithTimeout(ctx, longReadTime)
	defer cancel()
	b.guard.Lock()
	defer b.guard.Unlock()
	query, columns, order, args := bulkQuery(b.BulkCommand, s)
	rows, err := b.queryer().QueryContext(ctx, fmt.Sprintf("SELECT %s FROM %s ORDER BY %s LIMIT %d", columns, query, order, bulkChunk), args...)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	defer rows.Close()
	var acts []db.Command
	for rows.Next() {
		a := db.Command{Verb: b.Verb, Who: b.Who, Reason: b.Reason}
		if err := rows.Scan(&a.ClientID, &a.Seq, &a.Run); err != nil {
			return nil, fmt.Errorf("read targets: %w", err)
		}
		acts = append(acts, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	return acts, nil
}

func (b *bulkRun) count(ctx context.Context) (done db.BulkResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, longReadTime)
	defer cancel()
	b.guard.Lock()
	defer b.guard.Unlock()
	query, _, _, args := bulkQuery(b.BulkCommand, bulkState{})
	if err := b.queryer().QueryRowContext(ctx, "SELECT count(*) FROM "+query, args...).Scan(&done.Count); err != nil {
		return db.BulkResult{}, fmt.Errorf("count targets: %w", err)
	}
	return done, nil
}
