package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// where is the conditions of a list, with their arguments.
type where struct {
	conditions []string
	args       []any
}

// and adds a condition, whose ? is the argument.
func (w *where) and(condition string, arg any) {
	w.args = append(w.args, arg)
	w.conditions = append(w.conditions, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(w.args))))
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return "true"
	}
	return strings.Join(w.conditions, " AND ")
}

// Events lists the events that f selects, in seq order, or with f.Newest in the reverse of
// it. A filter that few events match may read much of a table: the read ends with an error
// after 10 seconds.
func (r *reader) Events(ctx context.Context, f db.Filter) ([]db.StoredEvent, error) {
	var w where
	order := "o.seq"
	if f.Newest {
		order = "o.seq DESC"
		if f.After <= 0 {
			f.After = math.MaxInt64
		}
		w.and("o.seq < ?", f.After)
	} else {
		w.and("o.seq > ?", f.After)
	}
	if f.ClientID != "" {
		w.and("o.client_id = ?", f.ClientID)
	}
	if f.Type != "" {
		w.and("o.type = ?", f.Type)
	}
	if f.RequestID != "" {
		w.and("o.request_id = ?", f.RequestID)
	}
	if !f.Since.IsZero() {
		w.and("o.received_at >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		w.and("o.received_at < ?", f.Until.UnixMicro())
	}
	switch f.State {
	case "":
	case db.Pending:
		w.conditions = append(w.conditions, "r.seq IS NULL")
	default:
		w.and("r.status = ?", string(f.State))
	}
	return r.stored(ctx, "outbox o LEFT JOIN results r ON r.seq = o.seq", &w, order, f.Limit, f.MaxBytes)
}

// Dead lists events that were set aside, in the order of seq.
func (r *reader) Dead(ctx context.Context, f db.DeadFilter) ([]db.StoredEvent, error) {
	w := deadWhere(f.Type, f.ClientID, sinceOf(f.Since), f.After)
	return r.stored(ctx, deadTables, w, "r.seq", f.Limit, f.MaxBytes)
}

// stored reads events from the tables outbox o and results r. It ends with the event by which
// all have maxBytes (0: any).
func (r *reader) stored(ctx context.Context, tables string, w *where, order string, limit, maxBytes int) (list []db.StoredEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer release()
	bytes := 0
	text := fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT %d", storedColumns, tables, w, order, page(limit))
	err = r.rows(ctx, r.pool, text, w.args, func(rows pgx.Rows) (bool, error) {
		s, err := scanStored(rows)
		if err != nil {
			return false, err
		}
		list = append(list, s)
		bytes += s.Size()
		return maxBytes == 0 || bytes < maxBytes, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return list, nil
}

// Runs returns up to limit earlier runs of an event, those after the run after, the first one
// first: those that a Redrive or a Replay took the place of.
func (r *reader) Runs(ctx context.Context, seq, after int64, limit int) (list []db.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	err = r.rows(ctx, r.pool, `SELECT run, status, attempts, started_at, finished_at, output, error FROM runs
		WHERE seq = $1 AND run > $2 ORDER BY run LIMIT $3`, []any{seq, after, page(limit)}, func(rows pgx.Rows) (bool, error) {
		var s settled
		err := rows.Scan(&s.run, &s.status, &s.attempts, &s.started, &s.finished, &s.output, &s.reason)
		list = append(list, *s.result())
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return list, nil
}

// accountColumns are the columns of an account a that scanAccount reads. What is in no lane is
// counted for each account from where its slot's lanes end.
const accountColumns = `a.client_id, a.parked, a.attempts, a.next_at, a.last_error, a.paused, a.replay_next, a.replay_to, p.n, p.head
	FROM accounts a CROSS JOIN LATERAL (
		SELECT count(*) AS n, min(turn) AS turn, coalesce((array_agg(seq ORDER BY turn))[1], 0) AS head FROM pending p WHERE p.client_id = a.client_id) p`

func scanAccount(row pgx.Row) (a db.Account, err error) {
	var parked, paused int
	var attempts int64
	var next, replayNext, replayTo *int64
	var reason *string
	err = row.Scan(&a.ClientID, &parked, &attempts, &next, &reason, &paused, &replayNext, &replayTo, &a.Pending, &a.HeadSeq)
	a.Parked, a.Paused, a.Attempts, a.LastError = parked == 1, paused == 1, int(attempts), textOf(reason)
	a.ReplayNext, a.ReplayTo = numberOf(replayNext), numberOf(replayTo)
	if next != nil {
		a.NextAt = unixMicro(*next)
	}
	return a, err
}

// Account returns an account that ever sent an event, or ErrNotFound.
func (r *reader) Account(ctx context.Context, clientID string) (a db.Account, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	err = r.pool.with(ctx, func(c *pgx.Conn) (err error) {
		a, err = scanAccount(c.QueryRow(ctx, "SELECT "+accountColumns+" WHERE a.client_id = $1", clientID))
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return db.Account{}, db.ErrNotFound
	}
	if err != nil {
		return db.Account{}, fmt.Errorf("find account: %w", err)
	}
	return a, nil
}

// sortedOrders are the orders of accounts by what is pending.
var sortedOrders = map[db.AccountSort]string{db.ByPending: "p.n DESC, p.turn", db.ByOldest: "p.turn"}

// Accounts lists the accounts that f selects, in the order of client_id (by bytes) or of f.Sort.
func (r *reader) Accounts(ctx context.Context, f db.AccountFilter) ([]db.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	defer release()
	var w where
	w.and("a.client_id > ?", f.After)
	if f.Paused {
		w.conditions = append(w.conditions, "a.paused = 1")
	}
	if f.Parked {
		w.conditions = append(w.conditions, "a.parked = 1")
	}
	order := "a.client_id"
	if by, ok := sortedOrders[f.Sort]; ok {
		// The first accounts by one pass over what is pending; no condition is for those.
		w, order = where{}, by
		w.conditions = append(w.conditions, fmt.Sprintf(`a.client_id IN (SELECT client_id FROM
			(SELECT client_id, count(*) AS n, min(turn) AS turn FROM pending GROUP BY client_id) p ORDER BY %s LIMIT %d)`, by, page(f.Limit)))
	}
	list := []db.Account{}
	text := fmt.Sprintf("SELECT %s WHERE %s ORDER BY %s LIMIT %d", accountColumns, &w, order, page(f.Limit))
	err = r.rows(ctx, r.pool, text, w.args, func(rows pgx.Rows) (bool, error) {
		a, err := scanAccount(rows)
		list = append(list, a)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return list, nil
}

// Audit lists what operators did, the newest first.
func (r *reader) Audit(ctx context.Context, f db.AuditFilter) (list []db.AuditEntry, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	defer release()
	var w where
	if f.ClientID != "" {
		w.and("client_id = ?", f.ClientID)
	}
	if f.Verb != "" {
		w.and("verb = ?", string(f.Verb))
	}
	if f.Before != 0 {
		w.and("id < ?", f.Before)
	}
	text := fmt.Sprintf(`SELECT id, at, who, verb, coalesce(client_id, ''), coalesce(type, ''), coalesce(seq, 0), coalesce(to_seq, 0), coalesce(run, 0),
		reason, bulk, coalesce(key, ''), answer FROM audit WHERE %s ORDER BY id DESC LIMIT %d`, &w, page(f.Limit))
	err = r.rows(ctx, r.pool, text, w.args, func(rows pgx.Rows) (bool, error) {
		var a db.AuditEntry
		var at int64
		var bulk *int64
		var answer string
		err := rows.Scan(&a.ID, &at, &a.Command.Who, &a.Command.Verb, &a.Command.ClientID, &a.Command.Type, &a.Command.Seq,
			&a.Command.To, &a.Command.Run, &a.Command.Reason, &bulk, &a.Command.Key, &answer)
		switch {
		case bulk == nil:
		case *bulk == 0:
			a.Bulk = a.ID
		default:
			a.Bulk = *bulk
		}
		a.At, a.Answer = unixMicro(at), json.RawMessage(answer)
		list = append(list, a)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	return list, nil
}

// Pauses lists the types that are paused, by name; everything, if it is paused, is the first.
func (r *reader) Pauses(ctx context.Context) (list []db.PausedType, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	err = r.rows(ctx, r.pool, "SELECT type, since, who, reason FROM pauses ORDER BY type", nil, func(rows pgx.Rows) (bool, error) {
		var p db.PausedType
		var since int64
		err := rows.Scan(&p.Type, &since, &p.Who, &p.Reason)
		p.Since = unixMicro(since)
		list = append(list, p)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("list pauses: %w", err)
	}
	return list, nil
}

// maxCounted bounds what Counts counts of each.
const maxCounted = 100_000

// Counts returns how many events are dead and how many accounts are paused, each as 100,000
// where there are more.
func (r *reader) Counts(ctx context.Context) (dead, paused int, err error) {
	err = r.row(ctx, `SELECT (SELECT count(*) FROM (SELECT 1 FROM results WHERE status = 'dead' LIMIT $1) d),
		(SELECT count(*) FROM (SELECT 1 FROM accounts WHERE paused = 1 LIMIT $1) p)`, []any{maxCounted}, &dead, &paused)
	if err != nil {
		return 0, 0, fmt.Errorf("count: %w", err)
	}
	return dead, paused, nil
}
