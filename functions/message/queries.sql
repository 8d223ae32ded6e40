-- name: FindDialog :one
-- The client and its active dialog, if it has one.
SELECT c.id AS client, d.id AS dialog
FROM clients c LEFT JOIN dialogs d ON d.client = c.id AND d.active = 1
WHERE c.external_client_id = sqlc.arg(external_client_id) AND c.client_phone = sqlc.arg(client_phone);

-- name: AddMessage :execresult
-- No row affected: the message is there already. The id is the last inserted one;
-- RETURNING costs half as much again.
INSERT INTO messages (client, dialog, message_id, text, received_at)
VALUES (sqlc.arg(client), sqlc.arg(dialog), sqlc.arg(message_id), sqlc.arg(text), sqlc.arg(received_at))
ON CONFLICT (message_id, dialog) DO NOTHING;

-- name: FindMessage :one
SELECT id, text FROM messages WHERE message_id = sqlc.arg(message_id) AND dialog = sqlc.arg(dialog);

-- name: AddClient :execlastid
INSERT INTO clients (external_client_id, client_phone)
VALUES (sqlc.arg(external_client_id), sqlc.arg(client_phone));

-- name: OpenDialog :execlastid
INSERT INTO dialogs (client, active, opened_at)
VALUES (sqlc.arg(client), 1, sqlc.arg(opened_at));

-- name: CloseDialog :one
-- No row: the client is unknown or has no active dialog.
UPDATE dialogs SET active = 0, closed_at = sqlc.arg(closed_at)
WHERE active = 1 AND client = (
  SELECT id FROM clients
  WHERE external_client_id = sqlc.arg(external_client_id) AND client_phone = sqlc.arg(client_phone))
RETURNING id;
