-- Statements of the operator verbs, in the committer's transactions.

-- name: Standing :one
SELECT parked, paused, head_seq, attempts, next_at, replay_next FROM accounts WHERE client_id = sqlc.arg(client_id);

-- name: Head :one
SELECT turn, seq, run FROM lanes WHERE client_id = sqlc.arg(client_id) ORDER BY turn LIMIT 1;

-- name: PauseAccount :exec
UPDATE accounts SET paused = sqlc.arg(paused) WHERE client_id = sqlc.arg(client_id);

-- name: PauseType :execrows
INSERT INTO pauses (type, since, who, reason)
VALUES (sqlc.arg(type), sqlc.arg(since), sqlc.arg(who), sqlc.arg(reason)) ON CONFLICT (type) DO NOTHING;

-- name: ResumeType :execrows
DELETE FROM pauses WHERE type = sqlc.arg(type);

-- name: EventOf :one
SELECT client_id, message_id, type FROM outbox WHERE seq = sqlc.arg(seq);

-- name: Ending :one
SELECT run, settled, status FROM results WHERE seq = sqlc.arg(seq);

-- name: LastRun :one
SELECT CAST(coalesce(max(run), 0) AS INTEGER) AS run FROM runs WHERE seq = sqlc.arg(seq);

-- name: KeepRun :execrows
INSERT INTO runs (seq, run, turn, settled, status, attempts, started_at, finished_at, output, error)
SELECT r.seq, r.run, r.turn, r.settled, r.status, r.attempts, r.started_at, r.finished_at, r.output, r.error
FROM results r WHERE r.seq = sqlc.arg(seq);

-- name: DeleteResult :execrows
DELETE FROM results WHERE seq = sqlc.arg(seq);

-- name: SetReplay :exec
UPDATE accounts SET replay_next = sqlc.arg(replay_next), replay_to = sqlc.arg(replay_to), replay_settled = sqlc.arg(replay_settled)
WHERE client_id = sqlc.arg(client_id);

-- name: InsertAudit :execlastid
INSERT INTO audit (at, who, verb, client_id, type, seq, to_seq, run, reason, bulk, key, answer)
VALUES (sqlc.arg(at), sqlc.arg(who), sqlc.arg(verb), sqlc.arg(client_id), sqlc.arg(type), sqlc.arg(seq), sqlc.arg(to_seq),
  sqlc.arg(run), sqlc.arg(reason), sqlc.arg(bulk), sqlc.arg(key), sqlc.arg(answer));

-- name: AnswerAudit :exec
UPDATE audit SET answer = sqlc.arg(answer) WHERE id = sqlc.arg(id);

-- name: AuditByKey :one
SELECT id, at, verb, client_id, type, seq, to_seq, run, bulk, answer FROM audit WHERE key = sqlc.arg(key);

-- name: AuditAnswer :one
SELECT answer FROM audit WHERE id = sqlc.arg(id) AND bulk = 0;

-- name: WasDone :one
SELECT count(*) FROM audit WHERE client_id = sqlc.arg(client_id) AND verb = sqlc.arg(verb) AND seq = sqlc.arg(seq);

-- name: TurnOf :one
SELECT turn FROM lanes WHERE client_id = sqlc.arg(client_id) AND seq = sqlc.arg(seq);

-- name: WasCancelled :one
SELECT count(*) FROM audit WHERE client_id = sqlc.arg(client_id) AND verb = 'cancel' AND seq = sqlc.arg(seq)
  AND CAST(json_extract(answer, '$.run') AS INTEGER) = CAST(sqlc.arg(run) AS INTEGER);
