// Package sqlite is the storage that package db describes, in one SQLite file.
//
// The life of an event in the file:
//
//	Append   outbox              accepted, and pending: the answer leaves after the fsync
//	         deliveries          or scheduled, until its time has come: then lanes
//	         history, lanes      it is flushed, many together: what is not settled by then
//	Hold     accounts            an attempt failed: the event keeps its place
//	Settle   effect, results     done or dead, in one transaction; its row of lanes goes
//	Execute  what an operator does, and its row in audit
//
// One goroutine, the committer, owns the only write connection. Every write is an
// operation that waits in its queue; what waits together is committed together,
// with one fsync. Before each group the committer reads the file's owner, so a
// process that has lost the file writes nothing. The rules, and what they are for, are in
// docs/design.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
	"inturn/db/internal/drain"
	"inturn/db/sqlite/file"
)

// Options of Open.
type Options struct {
	Path     string         // of the file; its folders are made. ":memory:" for tests
	Tables   []db.Migration // of the functions, for each in order of version
	Erasures []db.Erasure   // of the functions, in the order in which rows refer to others
	Check    db.Check       // of what effects emit; nil checks nothing
	// Bounds of the backlog, in events; 0 is no bound. Those of parked and of paused
	// accounts count against MaxAccountPending alone.
	MaxPending        int
	MaxAccountPending int
	FlushBatch        int           // how many events are flushed together; 0: 16384, fewer only in tests
	MaxEffect         time.Duration // how long an effect may take; 0: db.MaxEffect, less only in tests
	Log               *slog.Logger  // nil: none
	Observer          db.Observer   // nil: nobody
}

// DB is an open database that this process owns.
type DB struct {
	path      string // "" in memory
	log       *slog.Logger
	lock      *file.Lock // nil in memory
	place     *file.Place
	pool      *sql.DB // of the write connection
	w         *writer
	space     *space
	committer *commit.Committer[work]
	*reader
	flusher   *flusher
	erasures  *erasures
	waiters   waiters
	dueTimer  *dueTimer
	standing  standing
	drainRate drain.Rate
	found     found
	onAppend  atomic.Pointer[func([]db.Event)]
	onChange  atomic.Pointer[func([]db.Change)]
	running   atomic.Pointer[func(clientID string, seq int64) bool]
	closeOnce sync.Once
	closeErr  error
}

// Open takes the file and makes it ready: lock, ownership, migration, recovery,
// checkpoint, in this order. It waits while another process has the file, until
// ctx ends.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	d := &DB{log: o.Log, place: &file.Place{}, reader: &reader{guard: noLock{}, lists: make(semaphore, maxLists), erasing: &erasing{}}}
	if err := (&opening{DB: d, options: o, name: file.OwnerName()}).run(ctx); err != nil {
		if d.lock != nil {
			d.lock.Withdraw()
		}
		d.abandon()
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	return d, nil
}

// stand publishes how many events are pending. It is the committer's.
func (d *DB) stand() {
	d.standing.pending.Store(int64(d.w.pending))
	d.standing.runnable.Store(int64(d.w.total))
	d.standing.scheduled.Store(int64(d.w.scheduled))
}

// OnChange sets the function that hears of every Change after its commit, in the
// order of commits, and before OnAppend's hears of the same commit's events. It is
// called as OnAppend's is.
func (d *DB) OnChange(fn func([]db.Change)) { d.onChange.Store(&fn) }

// SetRunning sets the function that says whether an account is inside a function with
// this event as its head. It is asked within a transaction and must not block. Without
// one nothing runs.
func (d *DB) SetRunning(fn func(clientID string, seq int64) bool) { d.running.Store(&fn) }

// Epoch is the number of this ownership of the file: each is greater than those before
// it. It doesn't change while the database is open.
func (d *DB) Epoch() int64 { return d.w.epoch }

// OnAppend sets the function that hears of every new event after its commit, in
// the order of commits, and of every scheduled one that becomes pending. It is called from
// the committer's goroutine, must not block, and must not keep the slice.
//
// Nothing that is scheduled becomes pending before the first call of OnAppend, which comes
// after Backlog was taken over.
func (d *DB) OnAppend(fn func([]db.Event)) {
	d.onAppend.Store(&fn)
	d.dueTimer.begin()
}

// committed runs after each commit, before the callers are answered.
func (d *DB) committed() {
	published, settled := d.w.published, d.w.settled
	if d.lock != nil {
		d.lock.SetAnswered(d.w.nextSeq)
	}
	d.w.memtable.publish(settled, d.w.nextSeq)
	d.flusher.wakeUp()
	isScheduled := func(ev db.Event) bool { return ev.Position == 0 }
	if slices.ContainsFunc(published, isScheduled) {
		d.dueTimer.committed(published)
		published = slices.DeleteFunc(published, isScheduled)
	}
	if fn, changes := d.onChange.Load(), d.w.changes; fn != nil && len(changes) > 0 {
		(*fn)(changes)
	}
	if fn := d.onAppend.Load(); fn != nil && len(published) > 0 {
		(*fn)(published)
	}
	d.w.notices.tell()
	d.stand()
	d.drainRate.Note(time.Now(), d.w.total, len(settled))
	d.waiters.settled(settled)
}

// Failed is closed once the storage has failed in a way that must end the process;
// Err then says how.
func (d *DB) Failed() <-chan struct{} { return d.committer.Failed() }

// Err returns why the process must end, or nil.
func (d *DB) Err() error { return d.committer.Err() }

// Ready returns nil if events are taken, else why not.
func (d *DB) Ready() error { return d.committer.Ready() }

// lost is called when the file, or the right to it, is not this process's any more.
func (d *DB) lost(err error) { d.committer.End(err) }

// Close takes nothing more, commits and answers what was taken, marks the file as
// closed in order, where the disk is not full, and frees it. It returns the failure that ended the committer,
// if there was one.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		err := d.committer.Close()
		d.waiters.close()
		if err == nil {
			d.guard.Lock()
			d.flushRest()
			err = d.w.fenced(func() error { return d.w.q0().LeaveOwnership(background) })
			if err == nil && d.path != "" {
				err = d.w.conn.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
			}
			if err != nil && classify(d.w.conn, err) == commit.Full {
				d.log.Warn("the disk is full: the file can't be marked as closed in order, and the next start recovers it", "error", err.Error())
				d.w.conn.KeepWAL()
				err = nil
			}
			d.guard.Unlock()
		}
		if err != nil {
			err = fmt.Errorf("close %s: %w", d.path, err)
			if d.path != "" { // the file may not be what the WAL belongs to
				d.w.conn.KeepWAL()
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
		<-d.dueTimer.done
		<-d.erasures.resumed
	}
	d.guard.Lock() // in memory a reader may be on the connection
	defer d.guard.Unlock()
	d.place.Stop()
	err := d.reader.close()
	if d.w != nil {
		err = errors.Join(err, d.w.close())
	}
	if d.pool != nil {
		err = errors.Join(err, d.pool.Close())
	}
	err = errors.Join(err, d.place.Close())
	if d.lock != nil {
		d.lock.Release()
	}
	return err
}

type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

// DrainRate returns the number of runnable events, counted as for Options.MaxPending, and
// how many a second were settled in the last ten seconds.
func (d *DB) DrainRate() (runnable int, perSecond float64) { return d.drainRate.At(time.Now()) }
