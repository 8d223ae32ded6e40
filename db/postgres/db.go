package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/db/internal/drain"
)

// Options of Open.
type Options struct {
	URL      string         // postgres://…, or key=value as libpq has it
	Schema   string         // of the tables; default "inturn"
	Node     string         // this process, for people
	Tables   []db.Migration // of the functions, for each in order of version
	Erasures []db.Erasure   // of the functions, in the order in which rows refer to others
	Check    db.Check       // of what effects emit; nil checks nothing
	// Bounds of the backlog, in events; 0 is no bound. Those of parked and of paused
	// accounts count against MaxAccountPending alone.
	MaxPending        int
	MaxAccountPending int
	FlushBatch        int           // after how many events what is still pending goes to lanes; 0: 65536, fewer only in tests
	MaxEffect         time.Duration // how long an effect may take; 0: db.MaxEffect, less only in tests
	Log               *slog.Logger  // nil: none
	Observer          db.Observer   // nil: nobody
}

// DB is an open database whose slots this process owns.
type DB struct {
	address   address
	log       *slog.Logger
	committer *committer
	w         *writer
	*reader
	erasures  *erasures
	flusher   *flusher
	waiters   waiters
	standing  standing
	drainRate drain.Rate
	found     foundState
	onAppend  atomic.Pointer[func([]db.Event)]
	onChange  atomic.Pointer[func([]db.Change)]
	watcher   atomic.Pointer[func([]db.Notice)]
	running   atomic.Pointer[func(clientID string, seq int64) bool]
	closeOnce sync.Once
	closeErr  error
}

// Open connects, takes the ownership and makes the schema ready, in this order. It waits
// while another process has the ownership, until ctx ends.
func Open(ctx context.Context, o Options) (*DB, error) {
	o.Schema = cmp.Or(o.Schema, "inturn")
	o.FlushBatch = cmp.Or(o.FlushBatch, flushBatch)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	d := &DB{address: address{url: o.URL, schema: o.Schema}, log: o.Log}
	d.reader = &reader{address: d.address, pool: newPool(d.address, maxReaders), lanes: newPool(d.address, maxLaneReaders), lists: make(semaphore, maxLists), erasing: &erasing{}}
	if err := (&opening{DB: d, options: o}).run(ctx); err != nil {
		return nil, fmt.Errorf("open PostgreSQL: %w", errors.Join(err, d.abandon()))
	}
	return d, nil
}

// Dialect returns db.Postgres.
func (d *DB) Dialect() db.Dialect { return db.Postgres }

// OnChange sets the function that hears of every Change after its commit, in the order of
// commits, and before OnAppend's hears of the same commit's events. It is called as
// OnAppend's is.
func (d *DB) OnChange(fn func([]db.Change)) { d.onChange.Store(&fn) }

// SetRunning sets the function that says whether an account is inside a function with this
// event as its head. It is asked within a transaction and must not block. Without one
// nothing runs.
func (d *DB) SetRunning(fn func(clientID string, seq int64) bool) { d.running.Store(&fn) }

// Epoch is the number of this ownership: each is greater than those before it. It doesn't
// change while the database is open.
func (d *DB) Epoch() int64 { return d.w.epoch }

// OnAppend sets the function that hears of every new event after its commit, in the order of
// commits. It is called from the committer's goroutine, must not block, and must not keep
// the slice.
func (d *DB) OnAppend(fn func([]db.Event)) { d.onAppend.Store(&fn) }

// committed runs after each commit, before the callers are answered.
func (d *DB) committed(c *delta) {
	if fn := d.onChange.Load(); fn != nil && len(c.changes) > 0 {
		(*fn)(c.changes)
	}
	if fn := d.onAppend.Load(); fn != nil && len(c.published) > 0 {
		(*fn)(c.published)
	}
	d.notify(c)
	d.flusher.committed(len(c.published), d.w.nextNumber())
	d.stand()
	d.drainRate.Note(time.Now(), d.w.memory.runnable, len(c.settled))
	d.waiters.settled(c.settled)
}

// stand publishes how many events are pending. It is the committer's.
func (d *DB) stand() {
	d.standing.pending.Store(int64(d.w.memory.pending))
	d.standing.runnable.Store(int64(d.w.memory.runnable))
}

// Failed is closed once the storage has failed in a way that must end the process; Err then
// says how.
func (d *DB) Failed() <-chan struct{} { return d.committer.Failed() }

// Err returns why the process must end, or nil.
func (d *DB) Err() error { return d.committer.Err() }

// Ready returns nil if events are taken, else why not.
func (d *DB) Ready() error { return d.committer.Ready() }

// Close takes nothing more, commits and answers what was taken, and gives the ownership
// back. It returns the failure that ended the committer, if there was one.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		err := d.committer.Close()
		d.waiters.close()
		if err == nil {
			if _, err = d.w.trip(&call{text: "UPDATE writers SET clean = 1 WHERE id = $1 AND epoch = $2", args: []any{d.w.id, d.w.epoch}}); err != nil {
				err = fmt.Errorf("close PostgreSQL: %w", err)
			}
		}
		d.closeErr = errors.Join(err, d.abandon())
	})
	return d.closeErr
}

// abandon frees everything, whatever the state.
func (d *DB) abandon() error {
	if d.erasures != nil && d.erasures.resumed != nil {
		<-d.flusher.done
		<-d.erasures.resumed
	}
	d.pool.close()
	d.lanes.close()
	if d.w == nil {
		return nil
	}
	err := d.w.rows.close()
	ctx, cancel := context.WithTimeout(background, 5*time.Second)
	defer cancel()
	_ = d.w.conn.Close(ctx) // it may be broken
	return err
}

// DrainRate returns the number of runnable events, counted as for Options.MaxPending, and
// how many a second were settled in the last ten seconds.
func (d *DB) DrainRate() (runnable int, perSecond float64) { return d.drainRate.At(time.Now()) }
