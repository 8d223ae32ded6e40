-- Statements of the readers: each is one snapshot.

-- name: Find :one
SELECT o.seq, o.client_id, o.message_id, o.type, o.payload, o.received_at, o.request_id, o.attrs,
  r.status, r.run, r.attempts, r.started_at, r.finished_at, r.output, r.error, d.deliver_at, d.scheduled
FROM outbox o LEFT JOIN results r ON r.seq = o.seq LEFT JOIN deliveries d ON d.seq = o.seq
WHERE o.client_id = sqlc.arg(client_id) AND o.message_id = sqlc.arg(message_id);

-- name: AcceptedAt :one
SELECT received_at FROM outbox WHERE seq >= sqlc.arg(seq) ORDER BY seq LIMIT 1;

-- name: ReadUnflushed :many
-- What is not flushed yet, and how far its first run has come.
SELECT o.seq, o.client_id,
  CAST(EXISTS (SELECT 1 FROM results r WHERE r.seq = o.seq) OR EXISTS (SELECT 1 FROM runs k WHERE k.seq = o.seq) AS INTEGER) AS settled,
  CAST(EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.turn = o.seq) AS INTEGER) AS in_lane,
  CAST(EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = o.seq) AS INTEGER) AS delivered
FROM outbox o WHERE o.seq > sqlc.arg(flushed) ORDER BY o.seq LIMIT sqlc.arg(page);

-- name: ResultOf :one
SELECT * FROM results WHERE seq = sqlc.arg(seq);

-- name: Held :many
SELECT client_id, head_seq, attempts, next_at, parked, paused, replay_next FROM accounts
WHERE attempts > 0 OR parked = 1 OR paused = 1 OR replay_next IS NOT NULL;

-- name: Pauses :many
SELECT type, since, who, reason FROM pauses ORDER BY type;

-- name: Runs :many
SELECT run, status, attempts, started_at, finished_at, output, error FROM runs
WHERE seq = sqlc.arg(seq) AND run > sqlc.arg(after) ORDER BY run LIMIT sqlc.arg(page);

-- name: ReplayRange :one
SELECT replay_next, replay_to, replay_settled FROM accounts WHERE client_id = sqlc.arg(client_id);

-- name: Backlogs :many
SELECT client_id, count(*) AS events, CAST(min(turn) AS INTEGER) AS head_turn FROM lanes GROUP BY client_id;
