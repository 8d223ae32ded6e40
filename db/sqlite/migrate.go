package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"inturn/db"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/q"
)

// migrations[i] makes schema version i+2 of version i+1. A deployed step is never
// changed; schema.sql is the schema after the last step.
var migrations = []string{
	// The unique key of outbox begins with message_id; history takes its other place.
	`ALTER TABLE owner ADD COLUMN filed INTEGER NOT NULL DEFAULT 0;
	DROP VIEW events;
	CREATE TABLE outbox2 (
	  seq         INTEGER NOT NULL PRIMARY KEY,
	  client_id   TEXT    NOT NULL,
	  message_id  TEXT    NOT NULL,
	  type        TEXT    NOT NULL,
	  payload     TEXT    NOT NULL,
	  received_at INTEGER NOT NULL,
	  request_id  TEXT    NOT NULL,
	  attrs       TEXT,
	  UNIQUE (message_id, client_id)
	) STRICT;
	INSERT INTO outbox2 SELECT seq, client_id, message_id, type, payload, received_at, request_id, attrs FROM outbox ORDER BY seq;
	DROP TABLE outbox;
	ALTER TABLE outbox2 RENAME TO outbox;
	CREATE TABLE history (
	  client_id TEXT    NOT NULL,
	  seq       INTEGER NOT NULL,
	  PRIMARY KEY (client_id, seq)
	) STRICT, WITHOUT ROWID;
	INSERT INTO history SELECT client_id, seq FROM outbox ORDER BY client_id, seq;
	UPDATE owner SET filed = next_seq - 1;
	CREATE VIEW account_events AS
	SELECT client_id, seq FROM history WHERE seq <= (SELECT filed FROM owner)
	UNION ALL
	SELECT client_id, seq FROM outbox WHERE seq > (SELECT filed FROM owner);
	CREATE VIEW events AS
	SELECT o.seq, o.client_id, o.message_id, o.type, o.payload,
	       coalesce(r.status, 'pending') AS state,
	       r.attempts, r.output, r.error,
	       strftime('%Y-%m-%dT%H:%M:%fZ', o.received_at / 1e6, 'unixepoch') AS received,
	       strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at  / 1e6, 'unixepoch') AS started,
	       strftime('%Y-%m-%dT%H:%M:%fZ', r.finished_at / 1e6, 'unixepoch') AS finished,
	       o.request_id
	FROM outbox o LEFT JOIN results r ON r.seq = o.seq;`,
	// What operators do: pauses, replays, earlier runs, audit.
	`ALTER TABLE accounts ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
ALTER TABLE accounts ADD COLUMN replay_next INTEGER;
ALTER TABLE accounts ADD COLUMN replay_to INTEGER;
ALTER TABLE accounts ADD COLUMN replay_settled INTEGER;
DROP INDEX accounts_held;
CREATE INDEX accounts_held ON accounts (client_id)
  WHERE attempts > 0 OR parked = 1 OR paused = 1 OR replay_next IS NOT NULL;
CREATE INDEX accounts_parked ON accounts (client_id) WHERE parked = 1;
CREATE INDEX accounts_paused ON accounts (client_id) WHERE paused = 1;
CREATE INDEX results_dead ON results (seq) WHERE status = 'dead';
CREATE TABLE runs (
  seq         INTEGER NOT NULL,
  run         INTEGER NOT NULL,
  turn        INTEGER NOT NULL,
  settled     INTEGER NOT NULL,
  status      TEXT    NOT NULL CHECK (status IN ('done', 'dead')),
  attempts    INTEGER NOT NULL,
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  output      TEXT,
  error       TEXT,
  PRIMARY KEY (seq, run)
) STRICT, WITHOUT ROWID;
CREATE TABLE pauses (
  type   TEXT    NOT NULL PRIMARY KEY,
  since  INTEGER NOT NULL,
  who    TEXT    NOT NULL,
  reason TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
  id        INTEGER NOT NULL PRIMARY KEY,
  at        INTEGER NOT NULL,
  who       TEXT    NOT NULL,
  verb      TEXT    NOT NULL,
  client_id TEXT,
  type      TEXT,
  seq       INTEGER,
  to_seq    INTEGER,
  run       INTEGER,
  reason    TEXT    NOT NULL,
  bulk      INTEGER,
  key       TEXT,
  answer    TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX audit_key ON audit (key) WHERE key IS NOT NULL;
CREATE INDEX audit_account ON audit (client_id, id) WHERE client_id IS NOT NULL;`,
	// The accounts that are being erased.
	`CREATE TABLE erasing (
	  client_id TEXT    NOT NULL PRIMARY KEY,
	  since     INTEGER NOT NULL,
	  who       TEXT    NOT NULL,
	  reason    TEXT    NOT NULL
	) STRICT, WITHOUT ROWID;`,
	// pending becomes lanes and what is not flushed yet.
	`CREATE TABLE lanes (
  client_id TEXT    NOT NULL,
  turn      INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  run       INTEGER NOT NULL,
  PRIMARY KEY (client_id, turn)
) STRICT, WITHOUT ROWID;
INSERT INTO lanes (client_id, turn, seq, run) SELECT client_id, turn, seq, run FROM pending ORDER BY client_id, turn;
DROP TABLE pending;
CREATE VIEW unfiled AS
SELECT o.client_id, o.seq AS turn, o.seq, 1 AS run FROM outbox o
WHERE o.seq > (SELECT filed FROM owner)
  AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.turn = o.seq);
CREATE VIEW pending AS
SELECT client_id, turn, seq, run FROM lanes UNION ALL SELECT client_id, turn, seq, run FROM unfiled;
CREATE VIEW filing AS SELECT filed FROM owner;
CREATE TRIGGER filing_rest INSTEAD OF UPDATE ON filing BEGIN
  INSERT INTO history (client_id, seq) SELECT client_id, seq FROM outbox WHERE seq > (SELECT filed FROM owner)
    ORDER BY client_id, seq ON CONFLICT (client_id, seq) DO NOTHING;
  INSERT INTO lanes (client_id, turn, seq, run) SELECT client_id, turn, seq, run FROM unfiled ORDER BY client_id, turn;
  UPDATE owner SET filed = next_seq - 1;
END;
CREATE TRIGGER pending_insert INSTEAD OF INSERT ON pending BEGIN
  UPDATE filing SET filed = 1;
  UPDATE owner SET epoch = epoch + 1;
  INSERT INTO lanes (client_id, turn, seq, run) VALUES (new.client_id, new.turn, new.seq, new.run);
END;
CREATE TRIGGER pending_update INSTEAD OF UPDATE ON pending BEGIN
  UPDATE filing SET filed = 1;
  UPDATE owner SET epoch = epoch + 1;
  UPDATE lanes SET client_id = new.client_id, turn = new.turn, seq = new.seq, run = new.run WHERE client_id = old.client_id AND turn = old.turn;
END;
CREATE TRIGGER pending_delete INSTEAD OF DELETE ON pending BEGIN
  UPDATE filing SET filed = 1;
  UPDATE owner SET epoch = epoch + 1;
  DELETE FROM lanes WHERE client_id = old.client_id AND turn = old.turn;
END;
ALTER TABLE owner ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;
UPDATE owner SET pending = (SELECT count(*) FROM pending);`,
	// What is written behind the appends is flushed. The triggers go first: they name a view
	// whose column is renamed with that of owner.
	`DROP TRIGGER filing_rest;
DROP TRIGGER pending_insert;
DROP TRIGGER pending_update;
DROP TRIGGER pending_delete;
ALTER TABLE owner RENAME COLUMN filed TO flushed;
DROP VIEW filing;
DROP VIEW pending;
DROP VIEW unfiled;
CREATE VIEW unflushed AS
SELECT o.client_id, o.seq AS turn, o.seq, 1 AS run FROM outbox o
WHERE o.seq > (SELECT flushed FROM owner)
  AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.turn = o.seq);
CREATE VIEW pending AS
SELECT client_id, turn, seq, run FROM lanes UNION ALL SELECT client_id, turn, seq, run FROM unflushed;
CREATE VIEW flush AS SELECT flushed FROM owner;
CREATE TRIGGER flush_rest INSTEAD OF UPDATE ON flush BEGIN
  INSERT INTO history (client_id, seq) SELECT client_id, seq FROM outbox WHERE seq > (SELECT flushed FROM owner)
    ORDER BY client_id, seq ON CONFLICT (client_id, seq) DO NOTHING;
  INSERT INTO lanes (client_id, turn, seq, run) SELECT client_id, turn, seq, run FROM unflushed ORDER BY client_id, turn;
  UPDATE owner SET flushed = next_seq - 1;
END;
CREATE TRIGGER pending_insert INSTEAD OF INSERT ON pending BEGIN
  UPDATE flush SET flushed = 1;
  UPDATE owner SET epoch = epoch + 1;
  INSERT INTO lanes (client_id, turn, seq, run) VALUES (new.client_id, new.turn, new.seq, new.run);
END;
CREATE TRIGGER pending_update INSTEAD OF UPDATE ON pending BEGIN
  UPDATE flush SET flushed = 1;
  UPDATE owner SET epoch = epoch + 1;
  UPDATE lanes SET client_id = new.client_id, turn = new.turn, seq = new.seq, run = new.run WHERE client_id = old.client_id AND turn = old.turn;
END;
CREATE TRIGGER pending_delete INSTEAD OF DELETE ON pending BEGIN
  UPDATE flush SET flushed = 1;
  UPDATE owner SET epoch = epoch + 1;
  DELETE FROM lanes WHERE client_id = old.client_id AND turn = old.turn;
END;`,
	// Events with a deliver_at; the errors of attempts, and what events emitted.
	`CREATE TABLE deliveries (
  seq        INTEGER NOT NULL PRIMARY KEY,
  client_id  TEXT    NOT NULL,
  deliver_at INTEGER NOT NULL,
  scheduled  INTEGER NOT NULL CHECK (scheduled IN (0, 1))
) STRICT;
CREATE INDEX deliveries_due ON deliveries (deliver_at) WHERE scheduled = 1;
CREATE INDEX deliveries_account ON deliveries (client_id) WHERE scheduled = 1;
CREATE VIEW scheduled AS SELECT client_id, deliver_at, seq FROM deliveries WHERE scheduled = 1;
CREATE TABLE attempt_errors (
  seq     INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  run     INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  error   TEXT    NOT NULL,
  PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE emitted (
  seq     INTEGER NOT NULL,
  emitted INTEGER NOT NULL,
  PRIMARY KEY (seq, emitted)
) STRICT, WITHOUT ROWID;
DROP VIEW unflushed;
CREATE VIEW unflushed AS
SELECT o.client_id, o.seq AS turn, o.seq, 1 AS run FROM outbox o
WHERE o.seq > (SELECT flushed FROM owner)
  AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.turn = o.seq)
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = o.seq);
DROP VIEW events;
CREATE VIEW events AS
SELECT o.seq, o.client_id, o.message_id, o.type, o.payload,
       coalesce(r.status, iif(d.scheduled, 'scheduled', 'pending')) AS state,
       r.attempts, r.output, r.error,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.received_at / 1e6, 'unixepoch') AS received,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.deliver_at / 1e6, 'unixepoch') AS deliver_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at  / 1e6, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.finished_at / 1e6, 'unixepoch') AS finished,
       o.request_id
FROM outbox o LEFT JOIN results r ON r.seq = o.seq LEFT JOIN deliveries d ON d.seq = o.seq;`,
	// What ties a WAL to its file.
	`ALTER TABLE owner ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE owner ADD COLUMN former_base INTEGER NOT NULL DEFAULT 0;`,
}

// migrator brings a file, and the functions' tables in it, to this binary's versions.
type migrator struct {
	*ownership
	log *slog.Logger
}

func (w *writer) migrator() migrator { return migrator{&w.ownership, w.log} }

// migrate brings an older file to file.SchemaVersion in one transaction, after a copy
// of the file has been put beside it.
func (m migrator) migrate(path string, version int, steps []string) error {
	latest := len(steps) + 1
	if version == latest {
		return nil
	}
	if path != "" {
		copied, err := m.copyBefore(path, version)
		if err != nil {
			return fmt.Errorf("copy before migration: %w", err)
		}
		m.log.Info("migrating the database", "from", version, "to", latest, "copy", copied)
	}
	return m.fenced(func() error {
		for v := version; v < latest; v++ {
			if err := m.conn.Exec(steps[v-1]); err != nil {
				return fmt.Errorf("migrate to version %d: %w", v+1, err)
			}
		}
		return m.conn.Exec(fmt.Sprintf("PRAGMA user_version = %d", latest))
	})
}

// copyBefore writes a consistent copy. It gets its name once it is complete, so a
// copy that was interrupted is never taken for one; one that failed is taken away, as
// the disk may be full. It takes the place of an older one of the same version: what is
// to be kept is the file as it is now.
func (m migrator) copyBefore(path string, version int) (name string, err error) {
	name = fmt.Sprintf("%s.v%d", path, version)
	part := name + ".part"
	remove := func() error { return file.RemoveAll(part, part+"-journal") }
	if err := remove(); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	if _, err := m.conn.SQL.ExecContext(background, "VACUUM INTO ?", part); err != nil {
		return "", err
	}
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := errors.Join(f.Chmod(0o600), f.Sync()); err != nil {
		return "", err
	}
	if err := os.Rename(part, name); err != nil {
		return "", err
	}
	return name, file.SyncDir(filepath.Dir(name))
}

// migrateTables runs the versions of the functions' tables that the file lacks, in
// one transaction. tables are in order of version for each function.
func (m migrator) migrateTables(tables []db.Migration) error {
	tables = db.MigrationsOn(db.SQLite, tables)
	if len(tables) == 0 {
		return nil
	}
	return m.fenced(func() error {
		latest := map[string]int{}
		for _, t := range tables {
			have, err := m.q0().TableVersion(background, t.Function)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("read version of %s's tables: %w", t.Function, err)
			}
			latest[t.Function] = max(latest[t.Function], t.Version)
			if int64(t.Version) <= have {
				continue
			}
			if err := m.tables(t); err != nil {
				return fmt.Errorf("tables of %s, version %d: %w", t.Function, t.Version, err)
			}
			err = m.q0().SaveTableVersion(background, q.SaveTableVersionParams{Function: t.Function, Version: int64(t.Version)})
			if err != nil {
				return fmt.Errorf("save version of %s's tables: %w", t.Function, err)
			}
		}
		for function, version := range latest {
			have, err := m.q0().TableVersion(background, function)
			if err != nil {
				return fmt.Errorf("read version of %s's tables: %w", function, err)
			}
			if have > int64(version) {
				return fmt.Errorf("tables of %s: the file has version %d, this binary knows %d", function, have, version)
			}
		}
		return nil
	})
}
