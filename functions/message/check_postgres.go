package message

import "inturn/functions"

// invariantsPostgres are those of invariants whose text is SQLite's.
var invariantsPostgres = []functions.Option{
	functions.InvariantOn("postgres", "message-missing", `
SELECT format('event %s (%s, %s) is done and the rows of its result are not those of its message', o.seq, o.client_id, o.message_id)
FROM outbox o JOIN results r ON r.seq = o.seq
WHERE o.type = 'message' AND r.status = 'done' AND NOT EXISTS (
  SELECT 1 FROM messages m JOIN clients c ON c.id = m.client
  WHERE m.id = (r.output::json ->> 'message')::bigint AND m.dialog = (r.output::json ->> 'dialog')::bigint AND m.client = (r.output::json ->> 'client')::bigint
    AND m.message_id = o.message_id AND m.text = o.payload::json ->> 'text'
    AND c.external_client_id = o.client_id AND c.client_phone = o.payload::json ->> 'phone')`),

	functions.InvariantOn("postgres", "message-early", `
SELECT format('message %s (%s, %s) is there and its event %s is not done', m.id, o.client_id, o.message_id, o.seq)
FROM messages m JOIN clients c ON c.id = m.client
  JOIN outbox o ON o.client_id = c.external_client_id AND o.message_id = m.message_id
  LEFT JOIN results r ON r.seq = o.seq
WHERE m.received_at = o.received_at AND (r.seq IS NULL OR r.status <> 'done' AND r.run = 1)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.seq = o.seq AND l.run > 1)`),

	functions.InvariantOn("postgres", "message-doubled", `
SELECT format('message %s is there %s times for client %s', m.message_id, count(*), m.client)
FROM messages m
GROUP BY m.message_id, m.client
HAVING count(*) > 1 AND (count(DISTINCT m.dialog) < count(*) OR EXISTS (
  SELECT 1 FROM clients c
    JOIN outbox o ON o.client_id = c.external_client_id AND o.message_id = m.message_id
    JOIN results r ON r.seq = o.seq
  WHERE c.id = m.client AND r.run = 1
    AND (SELECT count(*) FROM messages x WHERE x.message_id = m.message_id AND x.client = m.client AND x.received_at = o.received_at) > 1))`),

	functions.InvariantOn("postgres", "client-doubled", `
SELECT format('client %s with phone %s is there %s times', external_client_id, client_phone, count(*))
FROM clients GROUP BY external_client_id, client_phone HAVING count(*) > 1`),

	functions.InvariantOn("postgres", "dialog-doubled", `
SELECT format('client %s has %s active dialogs', client, count(*))
FROM dialogs WHERE active = 1 GROUP BY client HAVING count(*) > 1`),

	functions.InvariantOn("postgres", "dialog-mixed", `
SELECT format('message %s of client %s is in dialog %s of client %s', m.id, m.client, m.dialog, coalesce(d.client::text, 'none'))
FROM messages m LEFT JOIN dialogs d ON d.id = m.dialog
WHERE d.client IS DISTINCT FROM m.client`),

	functions.InvariantOn("postgres", "dialog-open", `
SELECT format('event %s (%s, %s) closed dialog %s, which is active', o.seq, o.client_id, o.message_id, d.id)
FROM outbox o JOIN results r ON r.seq = o.seq
  JOIN dialogs d ON d.id = (r.output::json ->> 'dialog')::bigint
WHERE o.type = 'dialog.close' AND r.status = 'done' AND d.active = 1`),
}
