-- The engine's tables. A function's own tables stand in its folder.
--
-- Every table is STRICT. Times are INTEGER Unix microseconds; the view `events`
-- shows them as text. client_id is always the TEXT account and nothing else, so
-- that a join never means another client. Every unique key contains client_id or
-- hangs below a row that does, so that a file can be split by account.

-- Who may write. One row, read first in every write transaction: a process whose
-- epoch is not this one has lost the file and writes nothing (SQLite has a single
-- writer, so the check is exact). Columns one, epoch and name never change their
-- meaning, so that ownership can be taken before an older file is migrated.
CREATE TABLE owner (
  one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  epoch        INTEGER NOT NULL,   -- grows by one with every owner
  name         TEXT    NOT NULL,   -- host and process, for people
  since        INTEGER NOT NULL,
  clean        INTEGER NOT NULL CHECK (clean IN (0, 1)), -- the last owner ended in order
  next_seq     INTEGER NOT NULL,   -- next seq or turn; never reused, also after deletions
  next_settled INTEGER NOT NULL,   -- next results.settled
  flushed      INTEGER NOT NULL DEFAULT 0, -- history has every event up to this seq, lanes what of them is pending
  pending      INTEGER NOT NULL DEFAULT 0, -- how many events are: a row that is lost elsewhere is missed here
  base         INTEGER NOT NULL DEFAULT 0, -- another number each time the WAL has been moved into the file: so a
  former_base  INTEGER NOT NULL DEFAULT 0  -- file without its WAL has one of these two, or isn't what the WAL continues
) STRICT;

-- What was accepted. Append only: an event's identity, payload and receipt never
-- change. The unique key is the idempotency key, without a window. message_id stands
-- first: ids that rise with time then land on the index's last page, where client_id
-- first would dirty a page for each account of a commit. What an account sent is
-- asked of account_events.
CREATE TABLE outbox (
  seq         INTEGER NOT NULL PRIMARY KEY,
  client_id   TEXT    NOT NULL,
  message_id  TEXT    NOT NULL,
  type        TEXT    NOT NULL,
  payload     TEXT    NOT NULL,    -- compact JSON
  received_at INTEGER NOT NULL,
  request_id  TEXT    NOT NULL,
  attrs       TEXT,                -- JSON object of what else came with the event
  UNIQUE (message_id, client_id)
) STRICT;

-- The events of each account, in order. It is written behind the appends, many
-- thousand events at once and sorted, so that those of one account share a page;
-- what is not flushed yet (owner.flushed) is found by a bounded scan of outbox.
CREATE TABLE history (
  client_id TEXT    NOT NULL,
  seq       INTEGER NOT NULL,
  PRIMARY KEY (client_id, seq)
) STRICT, WITHOUT ROWID;

CREATE VIEW account_events AS
SELECT client_id, seq FROM history WHERE seq <= (SELECT flushed FROM owner)
UNION ALL
SELECT client_id, seq FROM outbox WHERE seq > (SELECT flushed FROM owner);

-- The events that have a deliver_at. Until then they are scheduled: neither pending nor in
-- a lane, and in the two indexes, which hold nothing else. Once it has come an event gets
-- the next turn of the counter and is in lanes; of those that are not scheduled any more
-- the row only says what the deliver_at was, which a repeat is compared with. It
-- stands here and not in outbox so that events without one carry nothing.
CREATE TABLE deliveries (
  seq        INTEGER NOT NULL PRIMARY KEY,
  client_id  TEXT    NOT NULL,
  deliver_at INTEGER NOT NULL,
  scheduled  INTEGER NOT NULL CHECK (scheduled IN (0, 1))
) STRICT;
CREATE INDEX deliveries_due ON deliveries (deliver_at) WHERE scheduled = 1;
CREATE INDEX deliveries_account ON deliveries (client_id) WHERE scheduled = 1;

CREATE VIEW scheduled AS SELECT client_id, deliver_at, seq FROM deliveries WHERE scheduled = 1;

-- What of the outbox is still to run: in lanes where it has been flushed, else unflushed.
-- An event that is settled soon is never written here: its row of outbox says that it
-- is pending until it has one in results. A reader that asks about many rows of
-- pending, each by its key, is quicker on lanes and unflushed themselves.
--
-- An account's order is turn. turn is the event's seq until a person asks for another
-- run of it: then it is a new number of the same counter, and in a replay that number
-- minus 2^62. Replayed events so come before everything else of their account, in an
-- order of their own. The key is the order in which lanes are read: a lane is one
-- range of this table. It is written with history, and at once by what runs again.
CREATE TABLE lanes (
  client_id TEXT    NOT NULL,
  turn      INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  run       INTEGER NOT NULL,      -- 1 for the first run of an event
  PRIMARY KEY (client_id, turn)
) STRICT, WITHOUT ROWID;

CREATE VIEW unflushed AS
SELECT o.client_id, o.seq AS turn, o.seq, 1 AS run FROM outbox o
WHERE o.seq > (SELECT flushed FROM owner)
  AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.turn = o.seq)
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = o.seq);

CREATE VIEW pending AS
SELECT client_id, turn, seq, run FROM lanes UNION ALL SELECT client_id, turn, seq, run FROM unflushed;

-- UPDATE flush SET flushed = 1 flushes all that is not flushed yet.
CREATE VIEW flush AS SELECT flushed FROM owner;
CREATE TRIGGER flush_rest INSTEAD OF UPDATE ON flush BEGIN
  INSERT INTO history (client_id, seq) SELECT client_id, seq FROM outbox WHERE seq > (SELECT flushed FROM owner)
    ORDER BY client_id, seq ON CONFLICT (client_id, seq) DO NOTHING;
  INSERT INTO lanes (client_id, turn, seq, run) SELECT client_id, turn, seq, run FROM unflushed ORDER BY client_id, turn;
  UPDATE owner SET flushed = next_seq - 1;
END;

-- For who mends a file by hand. What a server knows of the file would be wrong then: one
-- that is running has lost it.
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

-- Every account that ever sent an event, and what holds it now. parked to last_error
-- speak of one event, the account's head (head_seq), and are empty when nothing is
-- being retried: a settle without failures never writes here.
--
-- A replay is a range that still waits: ordering one writes this row alone. Its
-- events become pending a few hundred at a time, and keep their results until then.
-- replay_settled leaves out what was settled after it was ordered.
CREATE TABLE accounts (
  client_id  TEXT    NOT NULL PRIMARY KEY,
  parked     INTEGER NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)), -- waits for a person
  head_seq   INTEGER,
  attempts   INTEGER NOT NULL DEFAULT 0,  -- attempts of the head that were begun and not settled
  next_at    INTEGER,                     -- not before this time
  last_error TEXT,
  paused     INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)), -- by an operator
  replay_next    INTEGER,                 -- seq: what is before it runs again already
  replay_to      INTEGER,                 -- the last seq of the range
  replay_settled INTEGER                  -- the last results.settled that is run again
) STRICT, WITHOUT ROWID;

-- Recovery needs the few accounts that something holds, not all of them; operators
-- list those that are parked or paused. Who was never held is in none of these.
CREATE INDEX accounts_held ON accounts (client_id)
  WHERE attempts > 0 OR parked = 1 OR paused = 1 OR replay_next IS NOT NULL;
CREATE INDEX accounts_parked ON accounts (client_id) WHERE parked = 1;
CREATE INDEX accounts_paused ON accounts (client_id) WHERE paused = 1;

-- How an event ended. Written in the transaction that runs its effect: with it the
-- event is not pending any more. settled is the place in the order of all settles:
-- within an account it grows with turn, which is how `inturn check` proves promise 3.
CREATE TABLE results (
  seq         INTEGER NOT NULL PRIMARY KEY,
  run         INTEGER NOT NULL,
  turn        INTEGER NOT NULL,
  settled     INTEGER NOT NULL,
  status      TEXT    NOT NULL CHECK (status IN ('done', 'dead')),
  attempts    INTEGER NOT NULL,    -- the one that settled it included
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  output      TEXT,                -- JSON, what the effect returned
  error       TEXT                 -- why it is dead
) STRICT;

-- Operators list what was set aside, and run all of it again.
CREATE INDEX results_dead ON results (seq) WHERE status = 'dead';

-- The earlier runs of an event, as results. A row is moved here in the transaction
-- that makes its event pending again, so an event is either pending or in results.
CREATE TABLE runs (
  seq         INTEGER NOT NULL,
  run         INTEGER NOT NULL,    -- from 1, without a gap up to the run in results or pending
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

-- Types that an operator paused; the empty one stands for everything.
CREATE TABLE pauses (
  type   TEXT    NOT NULL PRIMARY KEY,
  since  INTEGER NOT NULL,
  who    TEXT    NOT NULL,
  reason TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What operators did, each row written in the transaction that did it. A bulk act
-- has a row of its own, whose answer says how far it is, and one for each account or
-- event. key is an operator's and belongs to no account: it is unique in the file.
CREATE TABLE audit (
  id        INTEGER NOT NULL PRIMARY KEY,
  at        INTEGER NOT NULL,
  who       TEXT    NOT NULL,
  verb      TEXT    NOT NULL,
  client_id TEXT,                  -- NULL: of a type or of everything
  type      TEXT,
  seq       INTEGER,               -- these three as the operator named them
  to_seq    INTEGER,
  run       INTEGER,
  reason    TEXT    NOT NULL,
  bulk      INTEGER,               -- 0: a bulk act; else the id of the one this is a part of
  key       TEXT,                  -- Idempotency-Key
  answer    TEXT    NOT NULL       -- JSON object
) STRICT;

CREATE UNIQUE INDEX audit_key ON audit (key) WHERE key IS NOT NULL;
CREATE INDEX audit_account ON audit (client_id, id) WHERE client_id IS NOT NULL;

-- The accounts that are being erased. The row goes with the last of the account's.
CREATE TABLE erasing (
  client_id TEXT    NOT NULL PRIMARY KEY,
  since     INTEGER NOT NULL,
  who       TEXT    NOT NULL,
  reason    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- The errors of an event's last attempts, also of earlier runs. n grows with each.
CREATE TABLE attempt_errors (
  seq     INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  run     INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  error   TEXT    NOT NULL,
  PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;

-- What an event's effects emitted, by the seqs of both, also what was there before.
CREATE TABLE emitted (
  seq     INTEGER NOT NULL,
  emitted INTEGER NOT NULL,
  PRIMARY KEY (seq, emitted)
) STRICT, WITHOUT ROWID;

-- The version of each function's own tables (functions.Tables).
CREATE TABLE function_tables (
  function TEXT    NOT NULL PRIMARY KEY,
  version  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row an event, for people.
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
