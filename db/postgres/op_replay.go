package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// expandEvents is how many events of an account one ExpandReplay looks at.
const expandEvents = 256

// finishedQuery returns how many events of an account are finished in a range of seqs, the
// first and the last, and the last of their settles.
const finishedQuery = `SELECT count(*), coalesce(min(o.seq), 0), coalesce(max(o.seq), 0), coalesce(max(r.settled), 0)
	FROM outbox o JOIN results r ON r.seq = o.seq WHERE o.client_id = $1 AND o.seq >= $2 AND ($3::bigint = 0 OR o.seq <= $3)`

// Replayable returns how many finished events a Replay of the account's events from..to (0:
// the first, the newest) would run again, and nothing is done. It walks the account's events.
func (r *reader) Replayable(ctx context.Context, clientID string, from, to int64) (events int64, err error) {
	var first, last, place int64
	if err := r.row(ctx, finishedQuery, []any{clientID, from, to}, &events, &first, &last, &place); err != nil {
		return 0, fmt.Errorf("look for finished events: %w", err)
	}
	return events, nil
}

// replay notes the range. The head, if it was held, is not the head any more.
func (x *command) replay() error {
	a, err := x.t.account(x.ClientID)
	if err != nil {
		return err
	}
	var events, from, to, last int64
	err = x.t.row(finishedQuery, []any{x.ClientID, x.Seq, x.To}, &events, &from, &to, &last)
	switch {
	case err != nil:
		return fmt.Errorf("look for finished events: %w", err)
	case a.replaying || a.head.turn < 0:
		return refusal{db.ErrReplaying}
	case events == 0:
		return refusal{db.ErrNothingToReplay}
	}
	if err := x.t.setReplay(x.ClientID, &from, &to, &last); err != nil {
		return err
	}
	if err := x.t.release(x.ClientID); err != nil {
		return err
	}
	x.result.Changed, x.result.Seq, x.result.To, x.result.Events, x.result.HeadSeq = true, from, to, events, a.head.seq
	return x.t.changed(x.ClientID, true)
}

func (t *transactionOf) setReplay(clientID string, next, to, last *int64) error {
	_, err := t.exec("UPDATE accounts SET replay_next = $2, replay_to = $3, replay_settled = $4 WHERE client_id = $1", clientID, next, to, last)
	if err != nil {
		return fmt.Errorf("set replay: %w", err)
	}
	return nil
}

// ExpandReplay makes the next events of an account's replay pending, before everything else
// of it, and moves their results to runs. It is called when none of the replay's is pending;
// more says that further ones may be left. Errors as of Settle.
func (d *DB) ExpandReplay(clientID string) (more bool, err error) {
	err = d.solo(background, func(t *transactionOf) (err error) {
		more, err = t.expand(clientID)
		return err
	}, nil)
	return more, err
}

func (t *transactionOf) expand(clientID string) (more bool, err error) {
	if t.w.erasing.has(clientID) {
		return false, nil
	}
	var next, to, last *int64
	err = t.row("SELECT replay_next, replay_to, replay_settled FROM accounts WHERE client_id = $1", []any{clientID}, &next, &to, &last)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && next == nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read replay: %w", err)
	}
	seqs, err := t.numbers(`SELECT seq FROM outbox WHERE client_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq LIMIT $4`, clientID, *next, *to, expandEvents)
	if err != nil {
		return false, fmt.Errorf("read replay: %w", err)
	}
	for _, seq := range seqs {
		ended, place, status, err := t.ending(seq)
		if err != nil {
			return false, err
		}
		if status == "" || place > *last {
			continue // it is pending, or was finished after the replay was ordered
		}
		n, err := t.w.number()
		if err != nil {
			return false, refusal{err}
		}
		if err := t.runAgain(clientID, run{n + db.ReplayOffset, seq, ended + 1}); err != nil {
			return false, err
		}
	}
	// An attempt that ran when the replay was ordered may have failed since.
	if err := t.release(clientID); err != nil {
		return false, err
	}
	if more = len(seqs) == expandEvents; more {
		from := seqs[len(seqs)-1] + 1
		return true, t.setReplay(clientID, &from, to, last)
	}
	return false, t.setReplay(clientID, nil, nil, nil)
}
