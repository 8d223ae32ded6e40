-- Statements of events with a time before which they don't run.

-- name: InsertDelivery :exec
INSERT INTO deliveries (seq, client_id, deliver_at, scheduled)
VALUES (sqlc.arg(seq), sqlc.arg(client_id), sqlc.arg(deliver_at), sqlc.arg(scheduled));

-- name: Unschedule :execrows
UPDATE deliveries SET scheduled = 0 WHERE seq = sqlc.arg(seq) AND scheduled = 1;

-- name: IsScheduled :one
SELECT scheduled FROM deliveries WHERE seq = sqlc.arg(seq);

-- name: CountScheduled :one
SELECT count(*) FROM deliveries WHERE scheduled = 1;

-- name: CountScheduledOf :one
SELECT count(*) FROM deliveries WHERE scheduled = 1 AND client_id = sqlc.arg(client_id);

-- name: FirstDue :one
SELECT deliver_at FROM deliveries WHERE scheduled = 1 ORDER BY deliver_at LIMIT 1;

-- name: Due :many
SELECT d.deliver_at, o.seq, o.client_id, o.message_id, o.type, o.payload, o.received_at, o.request_id, o.attrs
FROM deliveries d CROSS JOIN outbox o ON o.seq = d.seq
WHERE d.scheduled = 1 AND d.deliver_at >= sqlc.arg(after) AND d.deliver_at <= sqlc.arg(now)
  AND (d.deliver_at > sqlc.arg(after) OR d.seq > sqlc.arg(after_seq))
ORDER BY d.deliver_at, d.seq LIMIT sqlc.arg(page);
