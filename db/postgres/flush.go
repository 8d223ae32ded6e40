package postgres

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"inturn/db"
)

// flushBatch is how many events are accepted until the pending ones go to lanes.
const flushBatch = 1 << 16

// flusher moves what is still pending after a while to lanes, so that an account's pending
// events are found however many are finished.
type flusher struct {
	db    *DB
	log   *slog.Logger
	batch int
	count int          // of events since the last flush; the committer's
	upTo  atomic.Int64 // the seq that was next when the batch was full
	wake  chan struct{}
	done  chan struct{}
}

func newFlusher(d *DB, log *slog.Logger, batch int) *flusher {
	return &flusher{db: d, log: log, batch: batch, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// committed is called by the committer after each commit.
func (f *flusher) committed(events int, next int64) {
	if f.count += events; f.count < f.batch {
		return
	}
	f.count = 0
	f.upTo.Store(next - 1)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *flusher) run() {
	defer close(f.done)
	for {
		select {
		case <-f.db.committer.Done():
			return
		case <-f.wake:
		}
		err := f.db.solo(background, f.flush, nil)
		if err != nil && !errors.Is(err, db.ErrClosed) && !errors.Is(err, db.ErrFenced) && !errors.Is(err, db.ErrUnavailable) {
			f.log.Warn("what is pending could not be moved to lanes: it is tried again", "error", err.Error())
		}
	}
}

// flush moves what is pending up to upTo. Every number up to there was drawn before, and is
// committed or never will be: only the committer writes.
func (f *flusher) flush(t *transactionOf) error {
	upTo := f.upTo.Load()
	if _, err := t.exec("SET LOCAL enable_hashjoin = on"); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO lanes (client_id, turn, seq, run) SELECT u.client_id, u.turn, u.seq, u.run FROM unfiled u WHERE u.seq <= $1
		ORDER BY u.client_id, u.turn`, upTo)
	if err != nil {
		return err
	}
	if _, err := t.exec("UPDATE slots SET filed = $1 WHERE writer = $2 AND filed < $1", upTo, t.w.id); err != nil {
		return err
	}
	t.d.filed = upTo
	return nil
}
