-- The engine's tables in a schema of PostgreSQL of their own. A function's own tables are
-- made there too; their text stands in its folder.
--
-- What an event writes when all goes well is inserted and never updated or deleted: an
-- outbox row and a results row. So nothing of it waits for vacuum. Times are Unix
-- microseconds of the node's clock. Ids are compared by bytes (COLLATE "C"), whatever the
-- database's collation is, and so an index does not depend on a version of libc or ICU.

-- One row: which version of this schema the tables have.
CREATE TABLE engine (
  one     int    NOT NULL PRIMARY KEY CHECK (one = 1),
  version int    NOT NULL
);

-- Each ownership draws a number that is greater than those before it.
CREATE SEQUENCE epochs;

-- A writer draws numbers of seq, position and settled in blocks of 65,536: block n has
-- those from n * 65,536 on. What is left of a block is not used by anybody.
CREATE SEQUENCE blocks;

-- Who may write. A writer is a connection. Each of its transactions begins by locking its
-- row FOR SHARE and comparing epoch and pid: a take-over, which updates the row, waits for
-- the transaction that is open and refuses all later ones. The lock leaves no dead row.
CREATE TABLE writers (
  id    bigint NOT NULL PRIMARY KEY,
  epoch bigint NOT NULL,
  pid   int    NOT NULL,            -- of the connection's backend
  node  text   NOT NULL,            -- host and process, for people
  since bigint NOT NULL,
  clean int    NOT NULL CHECK (clean IN (0, 1)) -- it ended in order
);

-- An account's slot is a hash of its client_id. A slot belongs to one writer.
CREATE TABLE slots (
  slot   int    NOT NULL PRIMARY KEY,
  writer bigint NOT NULL,
  filed  bigint NOT NULL            -- lanes has what is pending of the events up to this seq
);

-- What was accepted. The unique key is the idempotency key, without a window; message_id
-- stands first, so that ids which rise with time land on the index's last page.
CREATE TABLE outbox (
  seq         bigint NOT NULL PRIMARY KEY,
  slot        int    NOT NULL,
  client_id   text   COLLATE "C" NOT NULL,
  message_id  text   COLLATE "C" NOT NULL,
  type        text   COLLATE "C" NOT NULL,
  payload     text   COLLATE "C" NOT NULL,   -- compact JSON
  received_at bigint NOT NULL,
  request_id  text   COLLATE "C" NOT NULL,
  attrs       text   COLLATE "C",            -- JSON object of what else came with the event
  UNIQUE (message_id, client_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

-- The events of an account, in order.
CREATE UNIQUE INDEX outbox_account ON outbox (client_id, seq);

-- What is still to run of the events up to slots.filed, and each run that a person asked
-- for. What is newer is pending if it has no row in results.
CREATE TABLE lanes (
  client_id text   COLLATE "C" NOT NULL,
  turn      bigint NOT NULL,
  seq       bigint NOT NULL,
  run       bigint NOT NULL,
  PRIMARY KEY (client_id, turn)
);

-- Every account that ever sent an event, and what holds it now: as on SQLite.
CREATE TABLE accounts (
  client_id  text   COLLATE "C" NOT NULL PRIMARY KEY,
  parked     int    NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)),
  head_seq   bigint,
  attempts   bigint NOT NULL DEFAULT 0,
  next_at    bigint,
  last_error text   COLLATE "C",
  paused     int    NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
  replay_next    bigint,
  replay_to      bigint,
  replay_settled bigint
) WITH (fillfactor = 90);

CREATE INDEX accounts_held ON accounts (client_id)
  WHERE attempts > 0 OR parked = 1 OR paused = 1 OR replay_next IS NOT NULL;
CREATE INDEX accounts_parked ON accounts (client_id) WHERE parked = 1;
CREATE INDEX accounts_paused ON accounts (client_id) WHERE paused = 1;

-- How an event ended, written in the transaction that runs its effect. Within an account
-- settled grows with turn.
CREATE TABLE results (
  seq         bigint NOT NULL PRIMARY KEY,
  run         bigint NOT NULL,
  turn        bigint NOT NULL,
  settled     bigint NOT NULL,
  status      text   COLLATE "C" NOT NULL CHECK (status IN ('done', 'dead')),
  attempts    bigint NOT NULL,
  started_at  bigint NOT NULL,
  finished_at bigint NOT NULL,
  output      text   COLLATE "C",
  error       text   COLLATE "C"
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

CREATE INDEX results_dead ON results (seq) WHERE status = 'dead';

-- The earlier runs of an event.
CREATE TABLE runs (
  seq         bigint NOT NULL,
  run         bigint NOT NULL,
  turn        bigint NOT NULL,
  settled     bigint NOT NULL,
  status      text   COLLATE "C" NOT NULL CHECK (status IN ('done', 'dead')),
  attempts    bigint NOT NULL,
  started_at  bigint NOT NULL,
  finished_at bigint NOT NULL,
  output      text   COLLATE "C",
  error       text   COLLATE "C",
  PRIMARY KEY (seq, run)
);

-- Types that an operator paused; the empty one stands for everything.
CREATE TABLE pauses (
  type   text   COLLATE "C" NOT NULL PRIMARY KEY,
  since  bigint NOT NULL,
  who    text   COLLATE "C" NOT NULL,
  reason text   COLLATE "C" NOT NULL
);

-- What operators did, each row written in the transaction that did it.
CREATE TABLE audit (
  id        bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  at        bigint NOT NULL,
  who       text   COLLATE "C" NOT NULL,
  verb      text   COLLATE "C" NOT NULL,
  client_id text   COLLATE "C",
  type      text   COLLATE "C",
  seq       bigint,
  to_seq    bigint,
  run       bigint,
  reason    text   COLLATE "C" NOT NULL,
  bulk      bigint,
  key       text   COLLATE "C",
  answer    text   COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX audit_key ON audit (key) WHERE key IS NOT NULL;
CREATE INDEX audit_account ON audit (client_id, id) WHERE client_id IS NOT NULL;

-- The accounts that are being erased. The row goes with the last of the account's.
CREATE TABLE erasing (
  client_id text   COLLATE "C" NOT NULL PRIMARY KEY,
  since     bigint NOT NULL,
  who       text   COLLATE "C" NOT NULL,
  reason    text   COLLATE "C" NOT NULL
);

-- The version of each function's own tables. A group whose effects are to be serial with
-- those of all other writers locks the row of the function ''.
CREATE TABLE function_tables (
  function text COLLATE "C" NOT NULL PRIMARY KEY,
  version  int  NOT NULL
);

CREATE VIEW unfiled AS
SELECT o.client_id, o.seq AS turn, o.seq, 1::bigint AS run FROM outbox o JOIN slots s ON s.slot = o.slot
WHERE o.seq > s.filed
  AND o.seq > (SELECT min(filed) FROM slots) -- by which an index is read from there on
  AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.turn = o.seq);

CREATE VIEW pending AS
SELECT client_id, turn, seq, run FROM lanes UNION ALL SELECT client_id, turn, seq, run FROM unfiled;

-- One row an event, for people.
CREATE VIEW events AS
SELECT o.seq, o.client_id, o.message_id, o.type, o.payload,
       coalesce(r.status, 'pending') AS state,
       r.attempts, r.output, r.error,
       to_char(to_timestamp(o.received_at / 1e6) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS received,
       to_char(to_timestamp(r.started_at  / 1e6) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS started,
       to_char(to_timestamp(r.finished_at / 1e6) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS finished,
       o.request_id
FROM outbox o LEFT JOIN results r ON r.seq = o.seq;
