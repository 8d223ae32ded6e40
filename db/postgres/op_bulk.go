package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// bulkChunk is how many accounts or events of a BulkCommand one transaction does.
const bulkChunk = 200

// ExecuteAll does b, 200 accounts or events a transaction, each with its own row in audit,
// and returns when it has come to the end. If ctx ends first, what was done stays done (see
// BulkCommand.Key), and is returned with the error. Errors as of Execute.
func (d *DB) ExecuteAll(ctx context.Context, b db.BulkCommand) (db.BulkResult, error) {
	if err := b.Check(); err != nil {
		return db.BulkResult{}, err
	}
	run := &bulkRun{d.reader, d, b}
	if b.DryRun {
		return run.count(ctx)
	}
	return run.all(ctx)
}

// bulkRun is the run of one BulkCommand.
type bulkRun struct {
	*reader
	db *DB
	db.BulkCommand
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

func (b *bulkRun) all(ctx context.Context) (done db.BulkResult, err error) {
	var state bulkState
	err = b.db.solo(ctx, func(t *transactionOf) (err error) {
		done.ID, state, err = b.begin(t)
		return err
	}, nil)
	if err != nil {
		return db.BulkResult{}, err
	}
	done.Count, done.Again = state.Count, state.Ended
	for !state.Ended {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		targets, err := b.targets(ctx, state)
		if err != nil {
			return done, err
		}
		from := state
		err = b.db.solo(ctx, func(t *transactionOf) (err error) {
			state, err = b.next(t, done.ID, from, targets)
			return err
		}, nil)
		if err != nil {
			return done, err
		}
		done.Count = state.Count
	}
	return done, nil
}

// begin finds or makes the row in audit.
func (b *bulkRun) begin(t *transactionOf) (id int64, state bulkState, err error) {
	c := db.Command{Verb: b.Verb, Type: b.Type, Who: b.Who, Reason: b.Reason, Key: b.Key}
	if b.Key != "" {
		row, err := auditByKey(t, b.Key)
		if err == nil {
			if err := json.Unmarshal(row.answer, &state); err != nil {
				return 0, state, refusal{fmt.Errorf("read audit %d: %w", row.id, err)}
			}
			if row.bulk == nil || row.verb != b.Verb || row.clientID != b.ClientID || row.typ != b.Type || state.Since != sinceOf(b.Since) {
				return 0, state, refusal{db.ErrKeyReused}
			}
			return row.id, state, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return 0, state, fmt.Errorf("look for key: %w", err)
		}
	}
	state.Since = sinceOf(b.Since)
	text, err := json.Marshal(state)
	if err != nil {
		return 0, state, err
	}
	id, err = insertAudit(t, c, b.ClientID, new(int64), string(text))
	return id, state, err
}

// next does the targets that are still as they were read; each is an act of its own.
func (b *bulkRun) next(t *transactionOf, id int64, from bulkState, targets []db.Command) (state bulkState, err error) {
	var text []byte
	if err := t.row("SELECT answer FROM audit WHERE id = $1 AND bulk = 0", []any{id}, &text); err != nil {
		return state, fmt.Errorf("read audit: %w", err)
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return state, refusal{fmt.Errorf("read audit %d: %w", id, err)}
	}
	if state != from {
		return state, nil // the same BulkCommand goes on elsewhere: read again from where it is
	}
	for _, a := range targets {
		acted, err := b.target(t, id, a)
		switch {
		case err != nil:
			return state, err
		case acted:
			state.Count++
		}
		state.ClientID, state.Seq = a.ClientID, a.Seq
	}
	state.Ended = len(targets) < bulkChunk
	if text, err = json.Marshal(state); err != nil {
		return state, err
	}
	_, err = t.exec("UPDATE audit SET answer = $2 WHERE id = $1", id, string(text))
	return state, err
}

// target reports whether there was something to do.
func (b *bulkRun) target(t *transactionOf, id int64, a db.Command) (bool, error) {
	if a.Verb != db.Redrive {
		s, err := t.account(a.ClientID)
		if err != nil || !s.parked {
			return false, unlessRefused(err)
		}
	}
	x := command{t: t, Command: a, bulk: &id}
	err := x.do()
	if _, refused := errors.AsType[refusal](err); refused { // nothing was written: it has changed since it was read
		return false, nil
	}
	return x.result.Changed, err
}

func unlessRefused(err error) error {
	if _, refused := errors.AsType[refusal](err); refused {
		return nil
	}
	return err
}

func sinceOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

const (
	deadTables   = "results r JOIN outbox o ON o.seq = r.seq"
	parkedTables = "accounts a JOIN outbox o ON o.seq = a.head_seq"
)

func deadWhere(typ, clientID string, since, after int64) *where {
	w := &where{conditions: []string{"r.status = 'dead'"}}
	w.and("r.seq > ?", after)
	w.of(typ, clientID)
	w.and("r.finished_at >= ?", since)
	return w
}

// of selects by the event's type and account, where they are given.
func (w *where) of(typ, clientID string) {
	if clientID != "" {
		w.and("o.client_id = ?", clientID)
	}
	if typ != "" {
		w.and("o.type = ?", typ)
	}
}

// query returns what a BulkCommand is done to, after s.
func (b *bulkRun) query(s bulkState) (tables, columns, order string, w *where) {
	if b.Verb == db.Redrive {
		return deadTables, "o.client_id, r.seq, r.run", "r.seq", deadWhere(b.Type, b.ClientID, sinceOf(b.Since), s.Seq)
	}
	w = &where{conditions: []string{"a.parked = 1"}}
	w.and("a.client_id > ?", s.ClientID)
	w.of(b.Type, b.ClientID)
	return parkedTables, "a.client_id, a.head_seq, 0::bigint", "a.client_id", w
}

// targets returns the next accounts or events of a bulk command.
func (b *bulkRun) targets(ctx context.Context, s bulkState) (acts []db.Command, err error) {
	ctx, cancel := context.WithTimeout(ctx, longReadTime)
	defer cancel()
	tables, columns, order, w := b.query(s)
	text := fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT %d", columns, tables, w, order, bulkChunk)
	err = b.rows(ctx, b.pool, text, w.args, func(rows pgx.Rows) (bool, error) {
		a := db.Command{Verb: b.Verb, Who: b.Who, Reason: b.Reason}
		err := rows.Scan(&a.ClientID, &a.Seq, &a.Run)
		acts = append(acts, a)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	return acts, nil
}

func (b *bulkRun) count(ctx context.Context) (done db.BulkResult, err error) {
	tables, _, _, w := b.query(bulkState{})
	if err := b.row(ctx, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s", tables, w), w.args, &done.Count); err != nil {
		return db.BulkResult{}, fmt.Errorf("count targets: %w", err)
	}
	return done, nil
}
