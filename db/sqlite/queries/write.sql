-- Statements of the committer. They run on the one write connection only.

-- name: ReadOwner :one
SELECT epoch, name, since, clean, next_seq, next_settled FROM owner WHERE one = 1;

-- name: Epoch :one
SELECT epoch FROM owner WHERE one = 1;

-- name: CreateOwner :exec
INSERT INTO owner (one, epoch, name, since, clean, next_seq, next_settled)
VALUES (1, sqlc.arg(epoch), sqlc.arg(name), sqlc.arg(since), 0, 1, 1);

-- name: TakeOwnership :exec
UPDATE owner SET epoch = sqlc.arg(epoch), name = sqlc.arg(name), since = sqlc.arg(since), clean = 0
WHERE one = 1;

-- name: LeaveOwnership :exec
UPDATE owner SET clean = 1 WHERE one = 1;

-- name: SaveCounters :exec
UPDATE owner SET next_seq = sqlc.arg(next_seq), next_settled = sqlc.arg(next_settled), pending = sqlc.arg(pending) WHERE one = 1;

-- name: SaveBase :exec
UPDATE owner SET former_base = base, base = sqlc.arg(base) WHERE one = 1;

-- name: InsertOutbox :execrows
INSERT INTO outbox (seq, client_id, message_id, type, payload, received_at, request_id, attrs)
VALUES (sqlc.arg(seq), sqlc.arg(client_id), sqlc.arg(message_id), sqlc.arg(type), sqlc.arg(payload),
  sqlc.arg(received_at), sqlc.arg(request_id), sqlc.arg(attrs))
ON CONFLICT (message_id, client_id) DO NOTHING;

-- name: InsertPending :exec
INSERT INTO lanes (client_id, turn, seq, run)
VALUES (sqlc.arg(client_id), sqlc.arg(turn), sqlc.arg(seq), sqlc.arg(run));

-- name: InsertAccount :exec
INSERT INTO accounts (client_id) VALUES (sqlc.arg(client_id)) ON CONFLICT (client_id) DO NOTHING;

-- name: InsertHistory :exec
INSERT INTO history (client_id, seq) VALUES (sqlc.arg(client_id), sqlc.arg(seq)) ON CONFLICT (client_id, seq) DO NOTHING;

-- name: Flushed :one
SELECT flushed, pending FROM owner WHERE one = 1;

-- name: SaveFlushed :exec
UPDATE owner SET flushed = sqlc.arg(flushed) WHERE one = 1;

-- name: Repeated :one
-- The seq of the event that has this identity, negative where its type, payload or deliver_at is another.
SELECT CAST(iif(o.type = sqlc.arg(type) AND o.payload = sqlc.arg(payload) AND d.deliver_at IS sqlc.narg(deliver_at), o.seq, -o.seq) AS INTEGER) AS seq
FROM outbox o LEFT JOIN deliveries d ON d.seq = o.seq
WHERE o.client_id = sqlc.arg(client_id) AND o.message_id = sqlc.arg(message_id);

-- name: Identity :one
SELECT o.seq, o.type, o.payload, d.deliver_at FROM outbox o LEFT JOIN deliveries d ON d.seq = o.seq
WHERE o.client_id = sqlc.arg(client_id) AND o.message_id = sqlc.arg(message_id);

-- name: DeletePending :execrows
DELETE FROM lanes
WHERE client_id = sqlc.arg(client_id) AND turn = sqlc.arg(turn) AND seq = sqlc.arg(seq) AND run = sqlc.arg(run);

-- name: DeletePendingRange :execrows
-- First runs alone: their places are in the order of acceptance, and nothing comes between two later.
DELETE FROM lanes
WHERE client_id = sqlc.arg(client_id) AND turn >= sqlc.arg(first) AND turn <= sqlc.arg(last) AND seq = turn AND run = 1;

-- name: IsPending :one
SELECT count(*) FROM lanes
WHERE client_id = sqlc.arg(client_id) AND turn = sqlc.arg(turn) AND seq = sqlc.arg(seq) AND run = sqlc.arg(run);

-- name: InsertResult :exec
INSERT INTO results (seq, run, turn, settled, status, attempts, started_at, finished_at, output, error)
VALUES (sqlc.arg(seq), sqlc.arg(run), sqlc.arg(turn), sqlc.arg(settled), sqlc.arg(status), sqlc.arg(attempts),
  sqlc.arg(started_at), sqlc.arg(finished_at), sqlc.arg(output), sqlc.arg(error));

-- name: HoldAccount :one
UPDATE accounts SET head_seq = sqlc.arg(head_seq), attempts = sqlc.arg(attempts), next_at = sqlc.arg(next_at),
  parked = sqlc.arg(parked), last_error = sqlc.arg(last_error)
WHERE client_id = sqlc.arg(client_id) RETURNING paused, replay_next;

-- name: ReleaseAccount :exec
UPDATE accounts SET head_seq = NULL, attempts = 0, next_at = NULL, parked = 0, last_error = NULL
WHERE client_id = sqlc.arg(client_id);

-- name: TableVersion :one
SELECT version FROM function_tables WHERE function = sqlc.arg(function);

-- name: SaveTableVersion :exec
INSERT INTO function_tables (function, version) VALUES (sqlc.arg(function), sqlc.arg(version))
ON CONFLICT (function) DO UPDATE SET version = excluded.version;
