package postgres

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
	"inturn/db/internal/commit"
)

// schema is the text of the tables.
//
//go:embed schema.sql
var schema string

// schemaVersion is the version of schema.
const schemaVersion = 1

// opening is an Open under way.
type opening struct {
	*DB
	options Options
}

func (o *opening) run(ctx context.Context) error {
	if err := o.connect(ctx); err != nil {
		return err
	}
	if err := o.lock(ctx); err != nil {
		return err
	}
	if err := o.migrate(ctx); err != nil {
		return err
	}
	if err := o.take(ctx); err != nil {
		return err
	}
	if err := o.migrateTables(ctx); err != nil {
		return err
	}
	o.committer = commit.New[work](o.log)
	o.flusher = newFlusher(o.DB, o.log, o.options.FlushBatch)
	o.erasures = &erasures{reader: o.reader, db: o.DB, log: o.log, tables: o.options.Erasures}
	if err := o.erasures.prepare(ctx); err != nil {
		return err
	}
	unfinished, err := o.recover(ctx)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	o.committer.Start(&store{writer: o.w, notify: o.committed}, &sync.Mutex{})
	go o.flusher.run()
	o.erasures.resumed = make(chan struct{})
	go o.erasures.resume(unfinished)
	return nil
}

// connect opens the writer's connection. Its plans must be those for a full table, whatever
// the table's statistics say: keys are looked up.
func (o *opening) connect(ctx context.Context) error {
	w := &writer{
		id: 1, memory: &memory{backlog: map[string]int{}, resting: map[string]rest{}, known: map[string]struct{}{}},
		limits: limits{pending: o.options.MaxPending, accountPending: o.options.MaxAccountPending, effect: cmp.Or(o.options.MaxEffect, db.MaxEffect)},
		check:  o.options.Check, observer: o.options.Observer, events: eventLog{o.log, o.options.Observer}, log: o.log, erasing: o.erasing,
		rows:  newRowsAdapter(),
		texts: &texts{byText: map[string]*statement{}, schema: o.options.Schema, engine: map[string]bool{}},
	}
	to := o.address
	to.notice = w.notice
	c, err := to.connect(ctx, "enable_seqscan = off", "enable_hashjoin = off", "enable_mergejoin = off", "plan_cache_mode = force_generic_plan",
		"idle_in_transaction_session_timeout = 0", "statement_timeout = 0", "lock_timeout = 0", "jit = off")
	if err != nil {
		return errors.Join(err, w.rows.close())
	}
	w.conn, o.w = c, w
	return checkServer(ctx, c)
}

// lookEvery is how often it is looked whether the owner has gone.
const lookEvery = 100 * time.Millisecond

// lock waits until no other process has the ownership. The lock is the connection's: the
// server frees it when the process dies. It decides about nothing but the wait: the
// fence decides which process may write.
func (o *opening) lock(ctx context.Context) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte("inturn writer of schema " + o.options.Schema))
	for said := false; ; said = true {
		var free bool
		if err := o.w.conn.QueryRow(background, "SELECT pg_try_advisory_lock($1)", int64(h.Sum64())).Scan(&free); err != nil {
			return fmt.Errorf("take the lock: %w", err)
		}
		if free {
			return nil
		}
		if !said {
			o.log.Warn("another process owns the database; waiting for it", "schema", o.options.Schema)
		}
		t := time.NewTimer(lookEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("another process owns the database: %w", ctx.Err())
		}
	}
}

// migrate makes the schema, or brings it to this version.
func (o *opening) migrate(ctx context.Context) error {
	return pgx.BeginFunc(ctx, o.w.conn, func(tx pgx.Tx) error {
		var is, foreign bool
		name := o.options.Schema
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'engine'),
			EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)`, name).Scan(&is, &foreign)
		switch {
		case err != nil:
			return fmt.Errorf("look for the schema: %w", err)
		case is:
			return o.checkVersion(ctx, tx)
		case foreign:
			return fmt.Errorf("%w: the schema %q has tables that are not inturn's; name another one", db.ErrForeign, name)
		}
		text := "CREATE SCHEMA IF NOT EXISTS " + pgx.Identifier{name}.Sanitize() + ";\n" + schema +
			fmt.Sprintf("INSERT INTO engine (one, version) VALUES (1, %d);\n", schemaVersion) +
			"INSERT INTO function_tables (function, version) VALUES ('', 0);\n" +
			fmt.Sprintf("INSERT INTO slots (slot, writer, filed) SELECT n, 1, 0 FROM generate_series(0, %d) n;\n", slotCount-1) +
			"INSERT INTO writers (id, epoch, pid, node, since, clean) VALUES (1, 0, 0, '', 0, 1)"
		if _, err := tx.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("create the schema: %w", err)
		}
		return nil
	})
}

func (o *opening) checkVersion(ctx context.Context, tx pgx.Tx) error {
	var version int
	if err := tx.QueryRow(ctx, "SELECT version FROM engine").Scan(&version); err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if version > schemaVersion {
		return fmt.Errorf("%w (schema version %d, this binary knows %d)", db.ErrNewer, version, schemaVersion)
	}
	return nil
}

// take makes this connection the one that may write, by a commit: the earlier owner is
// refused from then on, and what it had open has been committed, or never will be.
func (o *opening) take(ctx context.Context) error {
	var clean int
	var epoch int64
	node := cmp.Or(o.options.Node, hostAndProcess())
	err := pgx.BeginFunc(ctx, o.w.conn, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT clean FROM writers WHERE id = $1 FOR UPDATE", o.w.id).Scan(&clean); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `UPDATE writers SET epoch = nextval('epochs'), pid = pg_backend_pid(), node = $2, since = $3, clean = 0
			WHERE id = $1 RETURNING epoch`, o.w.id, node, time.Now().UnixMicro()).Scan(&epoch)
	})
	if err != nil {
		return fmt.Errorf("take the ownership: %w", err)
	}
	o.w.epoch, o.found.unclean = epoch, clean == 0
	return nil
}

func hostAndProcess() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}

// migrateTables makes the functions' tables, and learns which tables are the engine's.
func (o *opening) migrateTables(ctx context.Context) error {
	return pgx.BeginFunc(ctx, o.w.conn, func(tx pgx.Tx) error {
		for _, m := range db.MigrationsOn(db.Postgres, o.options.Tables) {
			if err := o.migrateTable(ctx, tx, m); err != nil {
				return fmt.Errorf("tables of function %s, version %d: %w", m.Function, m.Version, err)
			}
		}
		var triggers []string
		err := tx.QueryRow(ctx, `SELECT coalesce(array_agg(t.tgname::text), '{}') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
			JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND NOT t.tgisinternal`, o.options.Schema).Scan(&triggers)
		if err == nil && len(triggers) > 0 {
			err = fmt.Errorf("functions' tables take no triggers, which could write the engine's tables: drop %q", triggers)
		}
		return err
	})
}

func (o *opening) migrateTable(ctx context.Context, tx pgx.Tx, m db.Migration) error {
	var version int
	err := tx.QueryRow(ctx, "SELECT version FROM function_tables WHERE function = $1", m.Function).Scan(&version)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if version >= m.Version {
		return nil
	}
	if err := checkPortable(m.SQL); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, m.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Position > 0 {
			return fmt.Errorf("%w (at byte %d)", err, pe.Position)
		}
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO function_tables (function, version) VALUES ($1, $2)
		ON CONFLICT (function) DO UPDATE SET version = excluded.version`, m.Function, m.Version)
	return err
}

// engineTables are the names that no effect may write.
var engineTables = []string{
	"engine", "writers", "slots", "outbox", "lanes", "accounts", "results", "runs", "pauses", "audit", "erasing", "function_tables", "unfiled", "pending", "events",
}

// recover finds what is to run, and the accounts whose erasure goes on.
func (o *opening) recover(ctx context.Context) (unfinished []string, err error) {
	for _, name := range engineTables {
		o.w.texts.engine[name] = true
	}
	if err := o.found.recover(ctx, o.reader, o.w); err != nil {
		return nil, err
	}
	if err := o.w.reserve(); err != nil {
		return nil, err
	}
	o.stand()
	if unfinished, err = o.erasures.unfinished(ctx); err != nil {
		return nil, err
	}
	for _, clientID := range unfinished {
		o.erasing.add(clientID)
	}
	o.found.backlog = slices.DeleteFunc(o.found.backlog, func(b db.Backlog) bool { return o.erasing.has(b.ClientID) })
	o.waiters.last.Store(o.w.nextNumber() - 1)
	return unfinished, nil
}
