-- What an account's page reads: the held columns, and one range of pending. The
-- listing (db/accounts.go) reads the same.

-- name: ReadAccount :one
SELECT a.client_id, a.parked, a.head_seq, a.attempts, a.next_at, a.last_error, a.paused, a.replay_next, a.replay_to,
  (SELECT count(*) FROM pending p WHERE p.client_id = a.client_id) AS pending,
  CAST(coalesce((SELECT p.seq FROM pending p WHERE p.client_id = a.client_id ORDER BY p.turn LIMIT 1), 0) AS INTEGER) AS first_seq
FROM accounts a WHERE a.client_id = sqlc.arg(client_id);
