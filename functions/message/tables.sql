-- Chats of System B. Every table is STRICT; times are INTEGER Unix microseconds and
-- are the event's received_at, so that a re-run effect writes the same again.
--
-- In each unique key below stands a column of the client, or the key hangs below a
-- row that does: the file can be split by account, and an account by nothing less.

-- Who writes: one phone under one external source. The same phone under two
-- sources is two clients.
CREATE TABLE clients (
  id                 INTEGER NOT NULL PRIMARY KEY,
  external_client_id TEXT    NOT NULL,   -- the event's client_id
  client_phone       TEXT    NOT NULL,
  -- The way in to everything else, asked once an event. It is written only when a
  -- client is new, so its order costs nothing; the account first keeps its clients
  -- together.
  UNIQUE (external_client_id, client_phone)
) STRICT;

CREATE TABLE dialogs (
  id        INTEGER NOT NULL PRIMARY KEY,
  client    INTEGER NOT NULL REFERENCES clients (id),
  active    INTEGER NOT NULL CHECK (active IN (0, 1)),
  opened_at INTEGER NOT NULL,
  closed_at INTEGER,
  CHECK ((active = 1) = (closed_at IS NULL))
) STRICT;

-- One active dialog a client: this index refuses what the old system did twice. It
-- is partial, so that closed dialogs, which only grow, neither stand in the way nor
-- make it larger; it also is how the active dialog is found.
CREATE UNIQUE INDEX dialogs_active ON dialogs (client) WHERE active = 1;

CREATE TABLE messages (
  id          INTEGER NOT NULL PRIMARY KEY,
  client      INTEGER NOT NULL REFERENCES clients (id),
  dialog      INTEGER NOT NULL REFERENCES dialogs (id),
  message_id  TEXT    NOT NULL,          -- the event's
  text        TEXT    NOT NULL,
  received_at INTEGER NOT NULL,
  -- A message once within its dialog. message_id stands first: ids that rise with
  -- time then all land on the index's last page, where dialog first would dirty one
  -- page for each dialog of a commit. There is no index by client or dialog for the
  -- same reason; outbox (client_id, message_id) leads to a client's messages.
  UNIQUE (message_id, dialog)
) STRICT;
