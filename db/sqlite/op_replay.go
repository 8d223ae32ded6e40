package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// expandEvents is how many events of an account one ExpandReplay looks at. Each costs about
// four statements of the transaction that everyone waits for.
const expandEvents = 256

// finished is what an account has finished of a range of seqs.
type finished struct {
	events, from, to, settled int64 // settled: the last of their settles
}

// finished reads it outside the committer: it walks the account's events.
func (r *reader) finished(ctx context.Context, a db.Command) (f finished, err error) {
	ctx, cancel := context.WithTimeout(ctx, longReadTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	row := r.queryer().QueryRowContext(ctx, `SELECT count(*), coalesce(min(e.seq), 0), coalesce(max(e.seq), 0), coalesce(max(r.settled), 0)
		FROM account_events e CROSS JOIN results r ON r.seq = e.seq
		WHERE e.client_id = ? AND e.seq >= ? AND (? = 0 OR e.seq <= ?)`, a.ClientID, a.Seq, a.To, a.To)
	if err := row.Scan(&f.events, &f.from, &f.to, &f.settled); err != nil {
		return f, fmt.Errorf("look for finished events: %w", err)
	}
	return f, nil
}

// Replayable returns how many finished events a Replay of the account's events from..to (0: the
// first, the newest) would run again, and nothing is done. It walks the account's events.
func (r *reader) Replayable(ctx context.Context, clientID string, from, to int64) (int64, error) {
	f, err := r.finished(ctx, db.Command{ClientID: clientID, Seq: from, To: to})
	return f.events, err
}

// replay notes the range. The head, if it was held, is not the head any more.
func (x *execution) replay() error {
	s, head, err := x.account(x.ClientID)
	switch {
	case err != nil:
		return err
	case s.ReplayNext.Valid || head.Turn < 0:
		return refusal{db.ErrReplaying}
	case x.finished.events == 0:
		return refusal{db.ErrNothingToReplay}
	}
	err = x.w.q.SetReplay(background, q.SetReplayParams{
		ReplayNext: number(x.finished.from), ReplayTo: number(x.finished.to), ReplaySettled: number(x.finished.settled), ClientID: x.ClientID,
	})
	if err != nil {
		return fmt.Errorf("set replay: %w", err)
	}
	if err := x.w.release(x.ClientID); err != nil {
		return err
	}
	x.result.Changed, x.result.Seq, x.result.To, x.result.Events, x.result.HeadSeq = true, x.finished.from, x.finished.to, x.finished.events, head.Seq
	return x.w.changed(x.ClientID, true)
}

// ExpandReplay makes the next events of an account's replay pending, before everything else
// of it, and moves their results to runs. It is called when none of the replay's is
// pending; more says that further ones may be left. Errors as of Settle.
func (d *DB) ExpandReplay(clientID string) (more bool, err error) {
	next, seqs, err := d.replayed(clientID)
	if err != nil {
		return false, fmt.Errorf("read replay: %w", err)
	}
	if next == 0 {
		return false, nil
	}
	expand := workFunc(func(w *writer) (err error) {
		more, err = w.expandReplay(clientID, next, seqs)
		return err
	})
	err = d.committer.Do(background, &operation{Work: expand, Size: 512 * len(seqs), RetriedWhenFull: true})
	return more && err == nil, err
}

// replayed reads where an account's replay is, and the account's next events in the
// range, finished or not: only the results show which are.
func (r *reader) replayed(clientID string) (next int64, seqs []int64, err error) {
	ctx, cancel := context.WithTimeout(background, longReadTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	row, err := r.q.ReplayRange(ctx, clientID)
	if errors.Is(err, sql.ErrNoRows) || r.erasing.has(clientID) { // erased meanwhile
		return 0, nil, nil
	}
	if err != nil || !row.ReplayNext.Valid {
		return 0, nil, err
	}
	rows, err := r.queryer().QueryContext(ctx, `SELECT seq FROM account_events WHERE client_id = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?`,
		clientID, row.ReplayNext.Int64, row.ReplayTo.Int64, expandEvents)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return 0, nil, err
		}
		seqs = append(seqs, seq)
	}
	return row.ReplayNext.Int64, seqs, rows.Err()
}

// expandReplay makes pending what is finished of seqs, if next is where the replay still is.
func (w *writer) expandReplay(clientID string, next int64, seqs []int64) (more bool, err error) {
	if w.writable(clientID) != nil {
		return false, nil
	}
	r, err := w.q.ReplayRange(background, clientID)
	if err != nil {
		return false, fmt.Errorf("read replay: %w", err)
	}
	if r.ReplayNext.Int64 != next {
		return r.ReplayNext.Valid, nil // somebody else did it
	}
	for _, seq := range seqs {
		e, err := w.q.Ending(background, seq)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			continue // it is pending
		case err != nil:
			return false, fmt.Errorf("look for result: %w", err)
		case e.Settled > r.ReplaySettled.Int64:
			continue // it was finished after the replay was ordered
		}
		turn := w.nextSeq + db.ReplayOffset
		w.nextSeq++
		if err := w.runAgain(clientID, seq, e.Run+1, turn); err != nil {
			return false, err
		}
	}
	// An attempt that ran when the replay was ordered may have failed since.
	if err := w.release(clientID); err != nil {
		return false, err
	}
	p := q.SetReplayParams{ClientID: clientID}
	if more = len(seqs) == expandEvents; more {
		p.ReplayNext, p.ReplayTo, p.ReplaySettled = number(seqs[len(seqs)-1]+1), r.ReplayTo, r.ReplaySettled
	}
	if err := w.q.SetReplay(background, p); err != nil {
		return false, fmt.Errorf("set replay: %w", err)
	}
	return more, nil
}
