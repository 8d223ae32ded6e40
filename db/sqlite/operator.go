package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// Audit lists what operators did, the newest first.
func (r *reader) Audit(ctx context.Context, f db.AuditFilter) ([]db.AuditEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	defer release()
	where, args := []string{"1"}, []any{}
	if f.ClientID != "" {
		where, args = append(where, "client_id = ?"), append(args, f.ClientID)
	}
	if f.Verb != "" {
		where, args = append(where, "verb = ?"), append(args, string(f.Verb))
	}
	if f.Before != 0 {
		where, args = append(where, "id < ?"), append(args, f.Before)
	}
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.queryer().QueryContext(ctx, `SELECT id, at, who, verb, coalesce(client_id, ''), coalesce(type, ''), coalesce(seq, 0),
			coalesce(to_seq, 0), coalesce(run, 0), reason, coalesce(bulk, id), bulk = 0, coalesce(key, ''), answer
		FROM audit WHERE `+strings.Join(where, " AND ")+` ORDER BY id DESC LIMIT ?`, append(args, page(f.Limit))...)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	defer rows.Close()
	var list []db.AuditEntry
	for rows.Next() {
		var a db.AuditEntry
		var at int64
		var whole sql.NullBool
		var answer string
		err := rows.Scan(&a.ID, &at, &a.Command.Who, &a.Command.Verb, &a.Command.ClientID, &a.Command.Type, &a.Command.Seq,
			&a.Command.To, &a.Command.Run, &a.Command.Reason, &a.Bulk, &whole, &a.Command.Key, &answer)
		if err != nil {
			return nil, fmt.Errorf("list audit: %w", err)
		}
		switch {
		case !whole.Valid:
			a.Bulk = 0
		case whole.Bool:
			a.Bulk = a.ID
		}
		a.At, a.Answer = unixMicro(at), json.RawMessage(answer)
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	return list, nil
}

func page(limit int) int { return min(max(limit, 1), 1000) }

// Dead lists events that were set aside, in the order of seq. It reads an index that has
// only such events.
func (r *reader) Dead(ctx context.Context, f db.DeadFilter) ([]db.StoredEvent, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	_, _, order, args := bulkQuery(db.BulkCommand{Verb: db.Redrive, Type: f.Type, ClientID: f.ClientID, Since: f.Since}, bulkState{Seq: f.After})
	return r.stored(ctx, deadQuery, order, page(f.Limit), f.MaxBytes, args)
}

// Runs returns up to limit earlier runs of an event, those after the run after, the first
// one first: those that a Redrive or a Replay took the place of.
func (r *reader) Runs(ctx context.Context, seq, after int64, limit int) ([]db.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.q.Runs(ctx, q.RunsParams{Seq: seq, After: after, Page: int64(page(limit))})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	list := make([]db.Result, len(rows))
	for i, row := range rows {
		list[i] = db.Result{
			Status: db.State(row.Status), Run: row.Run, Attempts: int(row.Attempts), StartedAt: unixMicro(row.StartedAt),
			FinishedAt: unixMicro(row.FinishedAt), Output: rawJSON(row.Output), Error: row.Error.String,
		}
	}
	return list, nil
}

// Pauses lists the types that are paused, by name; everything, if it is paused, is
// the first.
func (r *reader) Pauses(ctx context.Context) ([]db.PausedType, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.q.Pauses(ctx)
	if err != nil {
		return nil, fmt.Errorf("list pauses: %w", err)
	}
	list := make([]db.PausedType, len(rows))
	for i, row := range rows {
		list[i] = db.PausedType{Type: row.Type, Since: unixMicro(row.Since), Who: row.Who, Reason: row.Reason}
	}
	return list, nil
}
