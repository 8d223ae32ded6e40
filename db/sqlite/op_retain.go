package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"inturn/db"
	"inturn/db/internal/clock"
	"inturn/db/internal/commit"
)

// Bounds of retention.
const (
	retainChunk   = 200                   // events of one operation
	retainPause   = 20 * time.Millisecond // between two, at least; and at least as long as one took
	retainEvery   = 10 * time.Minute      // from one pass to the next, at most
	retainAtLeast = time.Second
)

// Retain deletes what was finished longer than age ago: the event with its result and
// earlier runs. What is pending, or in a replay that has not come to its end, is never
// deleted, whatever its age, nor are functions' own tables and accounts. A repeat of a
// deleted event is a new event. Seqs and turns are never used again; the pages that
// become free are.
//
// While the wall clock is not believed (it has jumped by more than an hour, also since the
// newest event at a start) nothing is deleted; that ends once it has run evenly for an hour.
//
// It returns when ctx ends or the database is closed. Each operation is small, waits
// behind all settles, and a pause follows it.
func (d *DB) Retain(ctx context.Context, age time.Duration) { d.retention().run(ctx, age) }

func (d *DB) retention() *retention { return &retention{d.reader, d.committer, d.log, clock.New()} }

// retention deletes what was finished long ago.
type retention struct {
	*reader
	committer *commit.Committer[work]
	log       *slog.Logger
	clock     *clock.Clock
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
		if !sleep(ctx, r.committer.Done(), every) {
			return
		}
	}
}

func sleep(ctx context.Context, done <-chan struct{}, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-done:
	}
	return false
}

// look makes a pass if the clock is believed.
func (r *retention) look(ctx context.Context, age time.Duration) (deleted int, err error) {
	newest, err := r.newest(ctx)
	if err != nil {
		return 0, err
	}
	now, ok, jumped := r.clock.Believed(newest)
	if jumped {
		r.log.Warn("the clock has jumped: old events are not deleted until it has run evenly", "for", clock.Steady, "clock", now, "newest_event", newest)
	}
	if !ok {
		return 0, nil
	}
	return r.pass(ctx, now.Add(-age))
}

// newest returns when the newest event was accepted, zero if there is none.
func (r *retention) newest(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	var at int64
	err := r.queryer().QueryRowContext(ctx, "SELECT received_at FROM outbox ORDER BY seq DESC LIMIT 1").Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("look for the newest event: %w", err)
	}
	return time.UnixMicro(at), nil
}

// pass is one. Nothing is finished before it was accepted, so it ends at the
// first event that was accepted after cutoff: where nothing is that old, it reads no
// more than a search for that one does.
func (r *retention) pass(ctx context.Context, cutoff time.Time) (deleted int, err error) {
	defer func() {
		select {
		case <-r.committer.Done(): // a reader then says what it likes
			err = db.ErrClosed
		default:
		}
	}()
	end, err := r.acceptedBefore(ctx, cutoff)
	if err != nil {
		return 0, err
	}
	for after := int64(0); ; {
		old, err := r.finishedBefore(ctx, after, end, cutoff)
		if err != nil || len(old) == 0 {
			return deleted, err
		}
		after = old[len(old)-1]
		n, began := 0, time.Now()
		retain := workFunc(func(w *writer) (err error) {
			n, err = w.deleteOld(old, cutoff.UnixMicro())
			return err
		})
		// Not retried when the disk is full: retention can wait for its next round.
		if err := r.committer.Do(background, &operation{Work: retain, Size: 512 * len(old)}); err != nil {
			return deleted, err
		}
		deleted += n
		if !sleep(ctx, r.committer.Done(), max(retainPause, time.Since(began))) {
			return deleted, ctx.Err()
		}
	}
}

// acceptedBefore returns the first seq that was accepted at cutoff or later, or one
// beyond all.
func (r *retention) acceptedBefore(ctx context.Context, cutoff time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	low, high := int64(0), r.unflushed.nextSeq() // everything below low was, nothing from high on
	for low < high {
		middle := low + (high-low)/2
		r.guard.Lock()
		at, err := r.q.AcceptedAt(ctx, middle) // of the next one that is kept
		r.guard.Unlock()
		switch {
		case errors.Is(err, sql.ErrNoRows), err == nil && at >= cutoff.UnixMicro():
			high = middle
		case err != nil:
			return 0, fmt.Errorf("look for old events: %w", err)
		default:
			low = middle + 1
		}
	}
	return low, nil
}

// finishedBefore reads the next events to delete.
func (r *retention) finishedBefore(ctx context.Context, after, end int64, cutoff time.Time) (seqs []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.queryer().QueryContext(ctx, "SELECT seq FROM results WHERE seq > ? AND seq < ? AND finished_at < ? ORDER BY seq LIMIT ?",
		after, end, cutoff.UnixMicro(), retainChunk)
	if err != nil {
		return nil, fmt.Errorf("look for old events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, fmt.Errorf("look for old events: %w", err)
		}
		seqs = append(seqs, seq)
	}
	return seqs, rows.Err()
}

// deleteOld deletes events, as far as they still may be, and returns how many.
func (w *writer) deleteOld(seqs []int64, cutoff int64) (deleted int, err error) {
	for _, seq := range seqs {
		old, err := w.deleteIfOld(seq, cutoff)
		if err != nil {
			return 0, fmt.Errorf("delete old event: %w", err)
		}
		if old {
			deleted++
		}
	}
	return deleted, nil
}

// retainable: the event is finished, was so before the cutoff, and no replay will ask
// for it.
const retainable = `SELECT o.client_id FROM results r JOIN outbox o ON o.seq = r.seq JOIN accounts a ON a.client_id = o.client_id
	WHERE r.seq = ? AND r.finished_at < ? AND (a.replay_next IS NULL OR r.seq NOT BETWEEN a.replay_next AND a.replay_to)`

func (w *writer) deleteIfOld(seq, cutoff int64) (bool, error) {
	stmt, err := w.rare.get(retainable)
	if err != nil {
		return false, err
	}
	var clientID string
	switch err := stmt.QueryRowContext(background, seq, cutoff).Scan(&clientID); {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, w.deleteEvent(clientID, seq)
}
