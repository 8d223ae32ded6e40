// Package sqlite is the storage that package db describes, in one SQLite file.
//
// The life of an event in the file:
//
//	Append   outbox              accepted, and pending: the answer leaves after the fsync
//	         history, lanes      it is flushed, many together: what is not settled by then
//	Hold     accounts            an attempt failed: the event keeps its place
//	Settle   effect, results     done or dead, in one transaction; its row of lanes goes
//	Execute  what an operator does, and its row in audit
//
// One goroutine, the committer, owns the only write connection. Every write is an
// operation that waits in its queue; what waits together is committed together,
// with one fsync. Before each group the committer reads who owns the file, so a
// process that has lost it writes nothing. The rules, and what they are for, are in
// docs/design.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
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
	FlushBatch        int          // how many events are flushed together; 0: 16384, fewer only in tests
	Log               *slog.Logger // nil: none
	Observer          db.Observer  // nil: nobody
}

// DB is an open database that this process owns.
type DB struct {
	path          string // "" in memory
	log           *slog.Logger
	lock          *file.Lock // nil in memory
	pool          *sql.DB
	readers       *sql.DB // pool in memory
	reads         *q.Queries
	lane          *sql.Stmt   // laneQuery
	laneUnflushed *sql.Stmt   // with what is unflushed
	guard         sync.Locker // around reads, where they share the write connection
	committer     *committer
	waiters       waiters
	standing      standing
	flusher       *flusher
	erasures      []db.Erasure
	erasing       erasing
	erasers       sync.Map      // the clients that an Erase of this process is busy with
	resumed       chan struct{} // closed when resume has ended; nil until open has succeeded
	drainRate     drainRate
	backlog       []db.Backlog
	paused        []string // types, as found
	unclean       bool
	onAppend      atomic.Pointer[func([]db.Event)]
	onChange      atomic.Pointer[func([]db.Change)]
	closeOnce     sync.Once
	closeErr      error
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
	d := &DB{log: o.Log, guard: noLock{}}
	if err := d.open(ctx, o); err != nil {
		if d.lock != nil {
			d.lock.Withdraw()
		}
		d.abandon()
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	return d, nil
}

func (d *DB) open(ctx context.Context, o Options) error {
	name := file.OwnerName()
	dsn := conn.MemoryDSN()
	sp := &space{}
	d.committer = newCommitter(o.Log, sp, d.committed)
	if o.Path != ":memory:" {
		path, err := filepath.Abs(o.Path)
		if err != nil {
			return err
		}
		if err := file.MakeDirs(filepath.Dir(path)); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if path, err = file.Resolve(path); err != nil {
			return err
		}
		d.path, sp.dir, dsn = path, filepath.Dir(path), conn.WriteDSN(path)
		if d.lock, err = file.Acquire(ctx, path, name, o.Log, d.lost); err != nil {
			return err
		}
		if err := file.CheckNoRestore(path); err != nil {
			return err
		}
		if err := file.Create(path); err != nil {
			return fmt.Errorf("create file: %w", err)
		}
	}
	w, err := d.connect(dsn, o)
	if err != nil {
		return err
	}
	d.committer.w, d.committer.guard = w, d.guard
	if w.place, err = file.NewPlace(d.path); err != nil {
		return err
	}
	version, clean, err := d.own(ctx, w, name)
	if err != nil {
		return conn.HintCorrupt(err)
	}
	d.unclean = !clean
	if d.path != "" {
		if err := w.conn.UseWAL(); err != nil {
			return conn.HintCorrupt(err)
		}
	}
	if err := w.migrate(d.path, version, migrations); err != nil {
		return conn.HintCorrupt(err)
	}
	if err := w.migrateTables(o.Tables); err != nil {
		return conn.HintCorrupt(err)
	}
	if w.q, err = q.Prepare(background, w.conn.SQL); err != nil {
		return conn.HintCorrupt(fmt.Errorf("prepare: %w", err))
	}
	if w.hot, err = prepareHot(w.conn); err != nil {
		return conn.HintCorrupt(fmt.Errorf("prepare: %w", err))
	}
	d.reads = w.q
	if d.path != "" {
		if err := w.conn.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return conn.HintCorrupt(fmt.Errorf("checkpoint: %w", err))
		}
		if err := w.conn.CoalesceWAL(); err != nil {
			return fmt.Errorf("coalesce the WAL's writes: %w", err)
		}
		if err := d.openReaders(); err != nil {
			return fmt.Errorf("open readers: %w", err)
		}
	}
	if d.lane, err = d.queryer().PrepareContext(ctx, laneQuery); err != nil {
		return conn.HintCorrupt(fmt.Errorf("prepare: %w", err))
	}
	if d.laneUnflushed, err = d.queryer().PrepareContext(ctx, unflushedQuery); err != nil {
		return conn.HintCorrupt(fmt.Errorf("prepare: %w", err))
	}
	if err := w.prepareErasures(o.Erasures); err != nil {
		return conn.HintCorrupt(err)
	}
	d.erasures = o.Erasures
	if d.flusher, err = newFlusher(ctx, d, cmp.Or(o.FlushBatch, flushBatch)); err != nil {
		return conn.HintCorrupt(err)
	}
	w.flusher = d.flusher
	if err := d.recover(ctx, w); err != nil {
		return conn.HintCorrupt(fmt.Errorf("recover: %w", err))
	}
	unfinished, err := d.unfinished(ctx)
	if err != nil {
		return conn.HintCorrupt(fmt.Errorf("recover: %w", err))
	}
	for _, clientID := range unfinished {
		d.erasing.add(clientID)
	}
	d.backlog = slices.DeleteFunc(d.backlog, func(b db.Backlog) bool { return d.erasing.has(b.ClientID) })
	d.waiters.last.Store(w.nextSeq - 1)
	go d.flusher.run()
	go d.committer.run()
	d.resumed = make(chan struct{})
	go d.resume(unfinished)
	return nil
}

// connect opens the write connection.
func (d *DB) connect(dsn string, o Options) (*writer, error) {
	var err error
	if d.pool, err = sql.Open("sqlite", dsn); err != nil {
		return nil, err
	}
	d.pool.SetMaxOpenConns(1)
	d.readers = d.pool
	if d.path == "" {
		d.guard = &sync.Mutex{}
	}
	one, err := d.pool.Conn(background)
	if err != nil {
		return nil, conn.HintCorrupt(err)
	}
	w := &writer{
		log: o.Log, check: o.Check, observer: o.Observer,
		limits:      limits{pending: o.MaxPending, accountPending: o.MaxAccountPending},
		writerState: writerState{backlog: map[string]int{}, resting: map[string]rest{}, known: map[string]struct{}{}},
		effectStmts: map[string]*conn.Stmt{}, rare: map[string]*sql.Stmt{}, erasing: &d.erasing,
		executorTimer: time.NewTimer(time.Hour),
	}
	w.executorTimer.Stop()
	if w.conn, err = conn.New(one, o.Observer.Checkpointed); err != nil {
		return nil, err
	}
	mayWrite, err := effectsMayWrite()
	if err != nil {
		return nil, errors.Join(err, w.conn.Close())
	}
	w.conn.Authorize(mayWrite)
	w.executor = newExecutor(w)
	if d.path != "" { // in memory readers are on the same connection
		if err := w.conn.DisableMutex(); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

// openReaders opens the connections that read.
func (d *DB) openReaders() (err error) {
	if d.readers, err = conn.Readers(d.path); err != nil {
		return err
	}
	d.reads, err = q.Prepare(context.Background(), d.readers)
	return err
}

// own takes ownership, waiting for whoever is writing.
func (d *DB) own(ctx context.Context, w *writer, name string) (version int, clean bool, err error) {
	for said := false; ; said = true {
		version, clean, err = w.takeOwnership(name)
		if err == nil || classify(w.conn, err) != classBusy {
			return version, clean, err
		}
		if !said {
			d.log.Warn("another connection holds the database's write lock; waiting for it")
		}
		if ctx.Err() != nil {
			return 0, false, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// stand publishes how many events are pending. It is the committer's.
func (d *DB) stand() {
	d.standing.pending.Store(int64(d.committer.w.pending))
	d.standing.runnable.Store(int64(d.committer.w.total))
}

// OnChange sets the function that hears of every Change after its commit, in the
// order of commits, and before OnAppend's hears of the same commit's events. It is
// called as OnAppend's is.
func (d *DB) OnChange(fn func([]db.Change)) { d.onChange.Store(&fn) }

// Epoch is the number of this ownership of the file: each is greater than those before
// it. It doesn't change while the database is open.
func (d *DB) Epoch() int64 { return d.committer.w.epoch }

// OnAppend sets the function that hears of every new event after its commit, in
// the order of commits. It is called from the committer's goroutine, must not
// block, and must not keep the slice.
func (d *DB) OnAppend(fn func([]db.Event)) { d.onAppend.Store(&fn) }

// committed runs after each commit, before the callers are answered.
func (d *DB) committed(published []db.Event, settled []q.Result) {
	d.flusher.committed(published, settled, d.committer.w.nextSeq)
	if fn, changes := d.onChange.Load(), d.committer.w.changes; fn != nil && len(changes) > 0 {
		(*fn)(changes)
	}
	if fn := d.onAppend.Load(); fn != nil && len(published) > 0 {
		(*fn)(published)
	}
	d.stand()
	d.drainRate.note(time.Now(), d.committer.w.total, len(settled))
	d.waiters.settled(settled)
}

// Failed is closed once the storage has failed in a way that must end the process;
// Err then says how.
func (d *DB) Failed() <-chan struct{} { return d.committer.failed }

// Err returns why the process must end, or nil.
func (d *DB) Err() error {
	d.committer.mu.Lock()
	defer d.committer.mu.Unlock()
	return d.committer.failure
}

// Ready returns nil if events are taken, else why not.
func (d *DB) Ready() error {
	if err := d.committer.space.low(); err != nil {
		return err
	}
	d.committer.mu.Lock()
	defer d.committer.mu.Unlock()
	if err := d.committer.refusal(); err != nil {
		return err
	}
	if time.Now().Before(d.committer.fullUntil) {
		return db.ErrStorageFull
	}
	return nil
}

// lost is called when another process has taken the lock's place.
func (d *DB) lost() { d.committer.end(db.ErrFenced) }

// Close takes nothing more, commits and answers what was taken, marks the file as
// closed in order and frees it. It returns the failure that ended the committer,
// if there was one.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		err := d.committer.close()
		d.waiters.close()
		if w := d.committer.w; err == nil {
			d.guard.Lock()
			d.flushRest()
			err = w.fenced(func() error { return w.q0().LeaveOwnership(background) })
			if err == nil && d.path != "" {
				err = w.conn.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
			}
			d.guard.Unlock()
		}
		if err != nil {
			err = fmt.Errorf("close %s: %w", d.path, err)
		}
		d.closeErr = errors.Join(err, d.abandon())
	})
	return d.closeErr
}

// abandon frees everything, whatever the state.
func (d *DB) abandon() error {
	var err error
	if d.resumed != nil {
		<-d.flusher.done
		<-d.resumed
	}
	d.guard.Lock() // in memory a reader may be on the connection
	defer d.guard.Unlock()
	for _, s := range []*sql.Stmt{d.lane, d.laneUnflushed} {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	if d.readers != nil && d.readers != d.pool {
		err = errors.Join(err, d.readers.Close())
	}
	if d.committer.w != nil {
		err = errors.Join(err, d.committer.w.close())
	}
	if d.pool != nil {
		err = errors.Join(err, d.pool.Close())
	}
	if d.lock != nil {
		d.lock.Release()
	}
	return err
}

// close frees the connection and what hangs from it.
func (w *writer) close() error {
	close(w.executor.groups)
	for _, s := range w.effectStmts {
		s.Close()
	}
	for _, s := range w.rare {
		s.Close()
	}
	w.hot.close()
	var err error
	if w.q != nil {
		err = w.q.Close()
	}
	return errors.Join(err, w.conn.Close())
}

type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}
