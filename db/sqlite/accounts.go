package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// Account returns an account that ever sent an event, or ErrNotFound.
func (r *reader) Account(ctx context.Context, clientID string) (db.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	row, err := r.q.ReadAccount(ctx, clientID)
	if errors.Is(err, sql.ErrNoRows) {
		return db.Account{}, db.ErrNotFound
	}
	if err != nil {
		return db.Account{}, fmt.Errorf("find account: %w", err)
	}
	return account(row), nil
}

// sortedAccounts are the first accounts with pending events in an order of s. It reads all of
// lanes once, which is in the order of client_id, so that nothing but the result is sorted.
const sortedAccounts = `(SELECT * FROM (SELECT client_id, sum(events) AS events, min(turn) AS turn FROM (
		SELECT client_id, count(*) AS events, min(turn) AS turn FROM lanes GROUP BY client_id
		UNION ALL SELECT client_id, events, turn FROM u) GROUP BY client_id) s ORDER BY %s LIMIT ?2) s
	CROSS JOIN accounts a ON a.client_id = s.client_id`

// sortedOrders are the orders in which sortedAccounts are found.
var sortedOrders = map[db.AccountSort]string{db.ByPending: "s.events DESC, s.turn", db.ByOldest: "s.turn"}

// Accounts lists the accounts that f selects, in the order of client_id (by bytes) or of f.Sort.
func (r *reader) Accounts(ctx context.Context, f db.AccountFilter) ([]db.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	defer release()
	table, where := "accounts a", "a.client_id > ?1"
	if f.Paused {
		table, where = "accounts a INDEXED BY accounts_paused", where+" AND a.paused = 1"
	}
	if f.Parked {
		table, where = "accounts a INDEXED BY accounts_parked", where+" AND a.parked = 1"
	}
	order := "a.client_id"
	if by, ok := sortedOrders[f.Sort]; ok {
		table, where, order = fmt.Sprintf(sortedAccounts, by), "?1 = ?1", by
	}
	r.guard.Lock()
	defer r.guard.Unlock()
	// What is unflushed is walked once, for all accounts of the page.
	rows, err := r.queryer().QueryContext(ctx, `WITH u AS MATERIALIZED (SELECT client_id, count(*) AS events, min(turn) AS turn FROM unflushed GROUP BY client_id)
		SELECT a.client_id, a.parked, a.head_seq, a.attempts, a.next_at, a.last_error, a.paused, a.replay_next, a.replay_to,
			(SELECT count(*) FROM lanes l WHERE l.client_id = a.client_id) + coalesce(u.events, 0),
			(SELECT count(*) FROM scheduled s WHERE s.client_id = a.client_id),
			coalesce((SELECT seq FROM (SELECT seq, turn FROM lanes l WHERE l.client_id = a.client_id ORDER BY turn LIMIT 1)
				WHERE u.turn IS NULL OR turn < u.turn), u.turn, 0)
		FROM `+table+" LEFT JOIN u ON u.client_id = a.client_id WHERE "+where+" ORDER BY "+order+" LIMIT ?2", f.After, page(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	defer rows.Close()
	accounts := []db.Account{}
	for rows.Next() {
		var row q.ReadAccountRow
		err := rows.Scan(&row.ClientID, &row.Parked, &row.HeadSeq, &row.Attempts, &row.NextAt, &row.LastError,
			&row.Paused, &row.ReplayNext, &row.ReplayTo, &row.Pending, &row.Scheduled, &row.FirstSeq)
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		accounts = append(accounts, account(row))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return accounts, nil
}

func account(r q.ReadAccountRow) db.Account {
	a := db.Account{
		ClientID: r.ClientID, Pending: int(r.Pending), Scheduled: int(r.Scheduled), HeadSeq: r.FirstSeq, Parked: r.Parked == 1,
		Attempts: int(r.Attempts), LastError: r.LastError.String,
		Paused: r.Paused == 1, ReplayNext: r.ReplayNext.Int64, ReplayTo: r.ReplayTo.Int64,
	}
	if r.NextAt.Valid {
		a.NextAt = unixMicro(r.NextAt.Int64)
	}
	return a
}
