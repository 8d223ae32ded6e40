-- A file of schema version 1, with events of two accounts.
CREATE TABLE owner (
  one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  epoch        INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  since        INTEGER NOT NULL,
  clean        INTEGER NOT NULL CHECK (clean IN (0, 1)),
  next_seq     INTEGER NOT NULL,
  next_settled INTEGER NOT NULL
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
  UNIQUE (client_id, message_id)
) STRICT;
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
PRAGMA user_version = 1;
PRAGMA application_id = 1768846453;
INSERT INTO owner VALUES (1, 7, 'process 1 on host', 1, 0, 5, 3);
INSERT INTO accounts (client_id, head_seq, attempts, next_at, last_error) VALUES ('a', NULL, 0, NULL, NULL), ('b', 4, 2, 1, 'e');
INSERT INTO outbox VALUES
  (1, 'a', 'm1', 'note', '{}', 1, 'r', NULL), (2, 'b', 'm1', 'note', '{}', 1, 'r', NULL),
  (3, 'a', 'm2', 'note', '{}', 1, 'r', NULL), (4, 'b', 'm2', 'note', '{}', 1, 'r', NULL);
INSERT INTO results VALUES (1, 1, 1, 1, 'done', 1, 1, 1, '{}', NULL), (2, 1, 2, 2, 'dead', 1, 1, 1, NULL, 'e');
INSERT INTO pending VALUES ('a', 3, 3, 1), ('b', 4, 4, 1);
