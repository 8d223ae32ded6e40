-- What an account's page reads: the held columns, one range of lanes, and what is
-- unflushed. The listing (db/accounts.go) reads the same.

-- name: ReadAccount :one
-- SQLite takes seq from the row that has the least turn.
-- https://www.sqlite.org/lang_select.html#bareagg
SELECT a.client_id, a.parked, a.head_seq, a.attempts, a.next_at, a.last_error, a.paused, a.replay_next, a.replay_to,
  p.pending, p.first_seq, (SELECT count(*) FROM scheduled s WHERE s.client_id = sqlc.arg(client_id)) AS scheduled
FROM accounts a, (SELECT count(*) AS pending, min(p.turn), CAST(coalesce(p.seq, 0) AS INTEGER) AS first_seq FROM pending p WHERE p.client_id = sqlc.arg(client_id)) p
WHERE a.client_id = sqlc.arg(client_id);
