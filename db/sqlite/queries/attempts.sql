-- Statements of what is kept of an event's attempts: their errors, and what it emitted.

-- name: LastError :one
SELECT CAST(coalesce(max(n), 0) AS INTEGER) AS n FROM attempt_errors WHERE seq = sqlc.arg(seq);

-- name: InsertError :exec
INSERT INTO attempt_errors (seq, n, run, attempt, at, error)
VALUES (sqlc.arg(seq), sqlc.arg(n), sqlc.arg(run), sqlc.arg(attempt), sqlc.arg(at), sqlc.arg(error));

-- name: DropErrors :exec
DELETE FROM attempt_errors WHERE seq = sqlc.arg(seq) AND n <= sqlc.arg(n);

-- name: Errors :many
SELECT run, attempt, at, error FROM attempt_errors WHERE seq = sqlc.arg(seq) ORDER BY n;

-- name: InsertEmitted :exec
INSERT INTO emitted (seq, emitted) VALUES (sqlc.arg(seq), sqlc.arg(emitted)) ON CONFLICT (seq, emitted) DO NOTHING;

-- name: EmittedBy :many
SELECT o.seq, o.client_id, o.message_id, r.status, d.scheduled
FROM emitted e CROSS JOIN outbox o ON o.seq = e.emitted LEFT JOIN results r ON r.seq = o.seq LEFT JOIN deliveries d ON d.seq = o.seq
WHERE e.seq = sqlc.arg(seq) AND e.emitted > sqlc.arg(after) ORDER BY e.emitted LIMIT sqlc.arg(page);
