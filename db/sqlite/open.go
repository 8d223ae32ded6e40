package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// opening is an Open under way.
type opening struct {
	*DB
	options Options
	name    string // of the owner, for people
}

// run makes the database ready, in the order that Open names.
func (o *opening) run(ctx context.Context) error {
	o.space, o.committer = &space{log: o.log, again: func() {}}, commit.New[work](o.log)
	if o.options.Path != ":memory:" {
		if err := o.take(ctx); err != nil {
			return err
		}
	}
	if err := o.write(ctx); err != nil {
		if o.w != nil && o.path != "" && file.Size(o.path+"-wal") > 0 {
			o.w.conn.KeepWAL() // it may have what was answered
		}
		if o.w != nil && classify(o.w.conn, err) == commit.Full {
			err = fmt.Errorf("%w: %w", db.ErrStorageFull, err)
		}
		return conn.HintCorrupt(err)
	}
	if err := o.read(ctx); err != nil {
		return conn.HintCorrupt(err)
	}
	unfinished, err := o.recover(ctx)
	if err != nil {
		return conn.HintCorrupt(fmt.Errorf("recover: %w", err))
	}
	go o.flusher.run()
	go o.dueTimer.run()
	o.committer.Start(groups{o.w}, o.guard)
	if o.lock != nil {
		o.lock.KeepRoom()
	}
	o.erasures.resumed = make(chan struct{})
	go o.erasures.resume(unfinished)
	return nil
}

// take makes the file's folder and takes its lock.
func (o *opening) take(ctx context.Context) error {
	path, err := filepath.Abs(o.options.Path)
	if err != nil {
		return err
	}
	if err := file.MakeDirs(filepath.Dir(path)); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if path, err = file.Resolve(path); err != nil {
		return err
	}
	if err := file.CheckRegular(path); err != nil {
		return err
	}
	o.path, o.space.dir = path, filepath.Dir(path)
	if o.lock, err = file.Acquire(ctx, path, o.name, o.log, o.lost); err != nil {
		return err
	}
	o.space.again = o.lock.KeepRoom
	if err := file.CheckNoRestore(path); err != nil {
		return err
	}
	if err := errors.Join(file.CheckWAL(path), file.CheckBase(ctx, path)); err != nil {
		return err
	}
	if err := file.Create(path); err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	o.place, err = file.OpenPlace(ctx, path, o.log)
	return err
}

// write opens the write connection, takes ownership, migrates and prepares.
func (o *opening) write(ctx context.Context) error {
	if err := o.connect(); err != nil {
		return err
	}
	w := o.w
	w.place, w.space, w.committed = o.place, o.space, o.DB.committed
	found, err := o.own(ctx)
	if err != nil {
		return err
	}
	o.found.unclean = !found.clean
	w.nextSeq, w.nextSettled = found.nextSeq, found.nextSettled
	o.compareAnswered()
	if o.path != "" {
		if err := w.conn.UseWAL(); err != nil {
			return err
		}
	}
	if err := w.migrator().migrate(o.path, found.version, migrations); err != nil {
		return err
	}
	if err := w.migrator().migrateTables(o.options.Tables); err != nil {
		return err
	}
	if w.q, err = q.Prepare(background, w.conn.SQL); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if w.hot, err = prepareHot(w.conn); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if o.path == "" {
		return nil
	}
	switch w.moved, err = w.conn.ShrinkWAL(); {
	case err != nil && classify(w.conn, err) == commit.Full:
		o.log.Warn("the disk is full: the WAL stays as long as it is", "error", err.Error())
	case err != nil:
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := w.conn.CoalesceWAL(); err != nil {
		return fmt.Errorf("coalesce the WAL's writes: %w", err)
	}
	if err := o.place.WatchWAL(); err != nil {
		return fmt.Errorf("watch the WAL: %w", err)
	}
	o.lock.Watch(o.place)
	return nil
}

// connect opens the write connection.
func (o *opening) connect() (err error) {
	dsn := conn.MemoryDSN()
	if o.path != "" {
		dsn = conn.WriteDSN(o.path)
	} else {
		o.guard = &sync.Mutex{}
	}
	if o.pool, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	o.pool.SetMaxOpenConns(1)
	one, err := o.pool.Conn(background)
	if err != nil {
		return err
	}
	c, err := conn.New(one, o.options.Observer.Checkpointed)
	if err != nil {
		return err
	}
	mayWrite, err := effectsMayWrite()
	if err != nil {
		return errors.Join(err, c.Close())
	}
	c.Authorize(mayWrite)
	o.w = newWriter(c, o.options, o.erasing)
	if o.path == "" {
		o.memory = c
		return nil
	}
	if err := c.DisableMutex(); err != nil { // not in memory, where readers are on the same connection
		return errors.Join(err, o.w.close())
	}
	return nil
}

func newWriter(c *conn.Conn, o Options, erasing *erasing) *writer {
	w := &writer{
		ownership: ownership{conn: c},
		log:       o.Log, check: o.Check, observer: o.Observer, events: eventLog{o.Log, o.Observer},
		limits:      limits{pending: o.MaxPending, accountPending: o.MaxAccountPending, effect: cmp.Or(o.MaxEffect, db.MaxEffect)},
		writerState: writerState{backlog: map[string]int{}, resting: map[string]rest{}, scheduledOf: map[string]int{}, known: map[string]struct{}{}, memtable: newMemtable()},
		effectStmts: map[string]*conn.Stmt{}, rare: keptStatements{c.SQL, map[string]*sql.Stmt{}}, erasing: erasing,
		executorTimer: time.NewTimer(time.Hour),
	}
	w.executorTimer.Stop()
	w.executor = newExecutor(w)
	return w
}

// own takes ownership, waiting for whatever else is writing.
func (o *opening) own(ctx context.Context) (found foundFile, err error) {
	for said := false; ; said = true {
		found, err = o.w.take(o.name)
		if err == nil || classify(o.w.conn, err) != commit.Busy {
			return found, err
		}
		if !said {
			o.log.Warn("another connection holds the database's write lock; waiting for it", "holder", groups{o.w}.Holder())
		}
		if ctx.Err() != nil {
			return found, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// read opens the connections that read, and prepares their statements.
func (o *opening) read(ctx context.Context) (err error) {
	o.reader.q, o.unflushed = o.w.q, &o.w.memtable.snapshot
	if o.path != "" {
		if o.readers, err = conn.Readers(o.path, maxReaders); err == nil {
			o.reader.q, err = q.Prepare(context.Background(), o.readers)
		}
		if err == nil {
			o.lanes, err = conn.Readers(o.path, maxLaneReaders)
		}
		if err != nil {
			return fmt.Errorf("open readers: %w", err)
		}
	}
	if err := o.reader.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := prepareErasures(o.w.conn, o.options.Erasures); err != nil {
		return err
	}
	o.erasures = &erasures{reader: o.reader, committer: o.committer, log: o.log, tables: o.options.Erasures}
	if o.flusher, err = newFlusher(ctx, o.DB, cmp.Or(o.options.FlushBatch, flushBatch)); err != nil {
		return err
	}
	o.dueTimer, err = newDueTimer(o.DB)
	return err
}

// recover finds what is to run, and the accounts whose erasure goes on.
func (o *opening) recover(ctx context.Context) (unfinished []string, err error) {
	if err := o.found.recover(ctx, o.reader, o.w); err != nil {
		return nil, err
	}
	if n, counted := int64(o.w.pending), o.found.counted; n != counted {
		o.log.Warn("rows of the file were changed by somebody else; inturn check may tell more", "pending", n, "counted", counted)
	}
	o.stand()
	if unfinished, err = o.erasures.unfinished(ctx); err != nil {
		return nil, err
	}
	for _, clientID := range unfinished {
		o.erasing.add(clientID)
	}
	o.found.backlog = slices.DeleteFunc(o.found.backlog, func(b db.Backlog) bool { return o.erasing.has(b.ClientID) })
	o.waiters.last.Store(o.w.nextSeq - 1)
	return unfinished, nil
}

// compareAnswered says what of the answered events a file lacks that was found. Their
// seqs are not given out again.
func (o *opening) compareAnswered() {
	if o.lock == nil {
		return
	}
	answered := o.lock.Answered()
	switch {
	case answered <= o.w.nextSeq:
	case o.w.epoch == 1:
		o.log.Warn("the file is new; the events that were answered from another one at this path are not in it", "events", answered-1)
	default:
		o.log.Error(file.Lacks(o.w.nextSeq, answered), "hint", "stop, and look for the file or its WAL, or restore a backup; their seqs are not used again")
		o.w.nextSeq = answered
	}
	o.lock.SetAnswered(o.w.nextSeq)
}
