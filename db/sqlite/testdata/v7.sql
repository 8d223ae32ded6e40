CREATE TABLE owner (
  one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  epoch        INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  since        INTEGER NOT NULL,
  clean        INTEGER NOT NULL CHECK (clean IN (0, 1)),
  next_seq     INTEGER NOT NULL,
  next_settled INTEGER NOT NULL,
  filed        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE outbox (
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
CREATE TABLE history (
  client_id TEXT    NOT NULL,
  seq       INTEGER NOT NULL,
  PRIMARY KEY (client_id, seq)
) STRICT, WITHOUT ROWID;
CREATE VIEW account_events AS
SELECT client_id, seq FROM history WHERE seq <= (SELECT filed FROM owner)
UNION ALL
SELECT client_id, seq FROM outbox WHERE seq > (SELECT filed FROM owner);
CREATE TABLE pending (
  client_id TEXT    NOT NULL,
  turn      INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  run       INTEGER NOT NULL,
  PRIMARY KEY (client_id, turn)
) STRICT, WITHOUT ROWID;
CREATE TABLE accounts (
  client_id  TEXT    NOT NULL PRIMARY KEY,
  parked     INTEGER NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)),
  head_seq   INTEGER,
  attempts   INTEGER NOT NULL DEFAULT 0,
  next_at    INTEGER,
  last_error TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_held ON accounts (client_id) WHERE attempts > 0 OR parked = 1;
CREATE TABLE results (
  seq         INTEGER NOT NULL PRIMARY KEY,
  run         INTEGER NOT NULL,
  turn        INTEGER NOT NULL,
  settled     INTEGER NOT NULL,
  status      TEXT    NOT NULL CHECK (status IN ('done', 'dead')),
  attempts    INTEGER NOT NULL,
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  output      TEXT,
  error       TEXT
) STRICT;
CREATE TABLE function_tables (
  function TEXT    NOT NULL PRIMARY KEY,
  version  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE VIEW events AS
SELECT o.seq, o.client_id, o.message_id, o.type, o.payload,
       coalesce(r.status, 'pending') AS state,
       r.attempts, r.output, r.error,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.received_at / 1e6, 'unixepoch') AS received,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at  / 1e6, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.finished_at / 1e6, 'unixepoch') AS finished,
       o.request_id
FROM outbox o LEFT JOIN results r ON r.seq = o.seq;
PRAGMA user_version = 2;
PRAGMA application_id = 1768846453;
INSERT INTO owner VALUES (1, 7, 'process 1 on host', 1, 0, 5, 3, 2);
INSERT INTO history VALUES ('a', 1), ('b', 2);
INSERT INTO accounts (client_id, head_seq, attempts, next_at, last_error) VALUES ('a', NULL, 0, NULL, NULL), ('b', 4, 2, 1, 'e');
INSERT INTO outbox VALUES
  (1, 'a', 'm1', 'note', '{}', 1, 'r', NULL), (2, 'b', 'm1', 'note', '{}', 1, 'r', NULL),
  (3, 'a', 'm2', 'note', '{}', 1, 'r', NULL), (4, 'b', 'm2', 'note', '{}', 1, 'r', NULL);
INSERT INTO results VALUES (1, 1, 1, 1, 'done', 1, 1, 1, '{}', NULL), (2, 1, 2, 2, 'dead', 1, 1, 1, NULL, 'e');
INSERT INTO pending VALUES ('a', 3, 3, 1), ('b', 4, 4, 1);
ALTER TABLE accounts ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
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
CREATE INDEX audit_account ON audit (client_id, id) WHERE client_id IS NOT NULL;
PRAGMA user_version = 3;
CREATE TABLE erasing (
  client_id TEXT    NOT NULL PRIMARY KEY,
  since     INTEGER NOT NULL,
  who       TEXT    NOT NULL,
  reason    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 4;
CREATE TABLE lanes (
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
UPDATE owner SET pending = (SELECT count(*) FROM pending);
-- The last two events are not filed yet.
DELETE FROM lanes;
DELETE FROM history WHERE seq > 2;
UPDATE owner SET filed = 2;
PRAGMA user_version = 5;
DROP TRIGGER filing_rest;
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
END;
CREATE TABLE deliveries (
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
FROM outbox o LEFT JOIN results r ON r.seq = o.seq LEFT JOIN deliveries d ON d.seq = o.seq;
PRAGMA user_version = 7;
