package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"inturn/db"
	"inturn/db/internal/clock"
)

// Bounds of retention.
const (
	retainChunk   = 500                   // events of one transaction
	retainPage    = 5000                  // events that are looked at together
	retainPause   = 20 * time.Millisecond // between two transactions, at least; and at least as long as one took
	retainEvery   = 10 * time.Minute      // from one pass to the next, at most
	retainAtLeast = time.Second
)

// Retain deletes what was finished longer than age ago: the event with its result and earlier
// runs. What is pending, or in a replay that has not come to its end, is never deleted,
// whatever its age, nor are functions' own tables and accounts. A repeat of a deleted event
// is a new event. Seqs and positions are never used again.
//
// While the wall clock is not believed (it has jumped by more than an hour, also since the
// newest event at a start) nothing is deleted; that ends once it has run evenly for an hour.
//
// It returns when ctx ends or the database is closed.
func (d *DB) Retain(ctx context.Context, age time.Duration) {
	(&retention{d.reader, d, d.log, clock.New()}).run(ctx, age)
}

// retention deletes what was finished long ago.
type retention struct {
	*reader
	db    *DB
	log   *slog.Logger
	clock *clock.Clock
}

func (r *retention) run(ctx context.Context, age time.Duration) {
	for every := min(max(age/100, retainAtLeast), retainEvery); ; {
		n, err := r.look(ctx, age)
		switch {
		case errors.Is(err, db.ErrClosed), errors.Is(err, db.ErrFenced), errors.Is(err, db.ErrUnavailable), ctx.Err() != nil:
			return
		case err != nil:
			r.log.Warn("retention goes on later", "deleted", n, "error", err.Error())
		case n > 0:
			r.log.Info("old events were deleted", "events", n)
		}
		if !r.sleep(ctx, every) {
			return
		}
	}
}

func (r *retention) sleep(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-r.db.committer.Done():
	}
	return false
}

// look makes a pass if the clock is believed.
func (r *retention) look(ctx context.Context, age time.Duration) (deleted int, err error) {
	var newest time.Time
	var at int64
	err = r.row(ctx, "SELECT received_at FROM outbox ORDER BY seq DESC LIMIT 1", nil, &at)
	switch {
	case err == nil:
		newest = unixMicro(at)
	case !errors.Is(err, pgx.ErrNoRows):
		return 0, fmt.Errorf("find the newest event: %w", err)
	}
	now, ok, jumped := r.clock.Believed(newest)
	if jumped {
		r.log.Warn("the clock has jumped: old events are not deleted until it has run evenly", "for", clock.Steady, "clock", now, "newest_event", newest)
	}
	if !ok {
		return 0, nil
	}
	return r.pass(ctx, now.Add(-age).UnixMicro())
}

// pass walks the events in the order of seq until all are younger than the cutoff.
func (r *retention) pass(ctx context.Context, cutoff int64) (deleted int, err error) {
	for after := int64(0); ; {
		seqs, last, more, err := r.old(ctx, after, cutoff)
		if err != nil {
			return deleted, err
		}
		for len(seqs) > 0 {
			chunk := seqs[:min(retainChunk, len(seqs))]
			seqs = seqs[len(chunk):]
			began, n := time.Now(), 0
			err := r.db.solo(ctx, func(t *transactionOf) (err error) {
				n, err = t.retain(chunk, cutoff)
				return err
			}, nil)
			if err != nil {
				return deleted, err
			}
			deleted += n
			if len(seqs) > 0 && !r.sleep(ctx, max(retainPause, time.Since(began))) {
				return deleted, ctx.Err()
			}
		}
		if after = last; !more {
			return deleted, nil
		}
	}
}

// old returns those of the next events, after a seq, that were finished before the cutoff, and
// the last of the next events. more is false once no older ones follow.
func (r *retention) old(ctx context.Context, after, cutoff int64) (seqs []int64, last int64, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, longReadTime)
	defer cancel()
	n, older := 0, false
	err = r.rows(ctx, r.pool, `SELECT o.seq, o.received_at, r.finished_at FROM outbox o LEFT JOIN results r ON r.seq = o.seq
		WHERE o.seq > $1 ORDER BY o.seq LIMIT $2`, []any{after, retainPage}, func(rows pgx.Rows) (bool, error) {
		var received int64
		var finished *int64
		if err := rows.Scan(&last, &received, &finished); err != nil {
			return false, err
		}
		n++
		older = older || received < cutoff
		if finished != nil && *finished < cutoff {
			seqs = append(seqs, last)
		}
		return true, nil
	})
	if err != nil {
		return nil, 0, false, fmt.Errorf("look for old events: %w", err)
	}
	return seqs, last, n == retainPage && older, nil
}

// retain deletes those of seqs that are still finished and in no replay.
func (t *transactionOf) retain(seqs []int64, cutoff int64) (int, error) {
	seqs, err := t.numbers(`SELECT r.seq FROM results r JOIN outbox o ON o.seq = r.seq JOIN accounts a ON a.client_id = o.client_id
		WHERE r.seq = ANY($1) AND r.finished_at < $2 AND (a.replay_next IS NULL OR r.seq NOT BETWEEN a.replay_next AND a.replay_to)`, seqs, cutoff)
	if err != nil || len(seqs) == 0 {
		return 0, err
	}
	return len(seqs), t.deleteEvents(seqs)
}
