package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
)

type nobody struct{}

func (nobody) Committed(int, bool, time.Duration) {}
func (nobody) Checkpointed(time.Duration)         {}
func (nobody) SlowEffect(string)                  {}
func (nobody) Dead(string)                        {}

// standing is what of Stats the committer publishes after each group.
type standing struct{ pending, runnable, scheduled atomic.Int64 }

// Stats returns it, in time that does not grow with what is stored.
func (d *DB) Stats() db.Stats {
	queued, full := d.committer.Stats()
	s := db.Stats{
		Pending: int(d.standing.pending.Load()), Runnable: int(d.standing.runnable.Load()), Queued: queued,
		Scheduled: int(d.standing.scheduled.Load()), NextDue: d.dueTimer.due(),
		Epoch: d.w.epoch, Unclean: d.found.unclean, DiskFree: -1, DiskSize: -1, DiskFull: full || d.space.low() != nil,
	}
	if d.path == "" {
		return s
	}
	s.FileBytes, s.WALBytes = file.Size(d.path), file.Size(d.path+"-wal")
	var st syscall.Statfs_t
	if syscall.Statfs(d.space.dir, &st) == nil {
		s.DiskFree, s.DiskSize = int64(st.Bavail)*int64(st.Bsize), int64(st.Blocks)*int64(st.Bsize)
	}
	return s
}

// FreePages returns how many pages of the file are free for new rows. It reads the
// file's header. https://www.sqlite.org/pragma.html#pragma_freelist_count
func (r *reader) FreePages(ctx context.Context) (pages int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	if err := r.queryer().QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&pages); err != nil {
		return 0, fmt.Errorf("read free pages: %w", err)
	}
	return pages, nil
}

// maxCounted bounds what Counts counts of each.
const maxCounted = 100_000

// Counts returns how many events are dead and how many accounts are paused, each as 100,000
// where there are more. It reads indexes that have only such rows.
func (r *reader) Counts(ctx context.Context) (dead, paused int, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("count: %w", err)
	}
	defer release()
	r.guard.Lock()
	defer r.guard.Unlock()
	err = r.queryer().QueryRowContext(ctx, `SELECT
			(SELECT count(*) FROM (SELECT 1 FROM results INDEXED BY results_dead WHERE status = 'dead' LIMIT ?1)),
			(SELECT count(*) FROM (SELECT 1 FROM accounts INDEXED BY accounts_paused WHERE paused = 1 LIMIT ?1))`, maxCounted).Scan(&dead, &paused)
	if err != nil {
		return 0, 0, fmt.Errorf("count: %w", err)
	}
	return dead, paused, nil
}

// AcceptedAt returns when the event was accepted whose seq is turn, or, where a
// later run has this turn, the next event after it. It reads one row. ErrNotFound:
// nothing was accepted since.
func (r *reader) AcceptedAt(ctx context.Context, turn int64) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	at, err := r.q.AcceptedAt(ctx, turn)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, db.ErrNotFound
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("find event: %w", err)
	}
	return unixMicro(at), nil
}
