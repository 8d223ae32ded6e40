package message

import "inturn/functions"

// invariants are what `inturn check` asks about the chats. Each is true at every
// commit, whatever is pending, and asks only about events whose rows are still
// there: retention may take an event and leave its message. Each walks one table
// once and finds the rest by key.
var invariants = []functions.Option{
	// An event that is done wrote the rows that its result names. Only the latest
	// run has its result here, and every run returns the row that holds the text.
	functions.Invariant("message-missing", `
WITH finished AS (
  SELECT o.seq, o.client_id, o.message_id,
         iif(json_valid(o.payload), o.payload, '{}') AS payload,
         iif(json_valid(r.output), r.output, '{}') AS output
  FROM outbox o JOIN results r ON r.seq = o.seq
  WHERE o.type = 'message' AND r.status = 'done')
SELECT printf('event %d (%s, %s) is done and the rows of its result are not those of its message', seq, client_id, message_id)
FROM finished f
WHERE NOT EXISTS (
  SELECT 1 FROM messages m JOIN clients c ON c.id = m.client
  WHERE m.id = f.output ->> '$.message' AND m.dialog = f.output ->> '$.dialog' AND m.client = f.output ->> '$.client'
    AND m.message_id = f.message_id AND m.text = f.payload ->> '$.text'
    AND c.external_client_id = f.client_id AND c.client_phone = f.payload ->> '$.phone')`),

	// No message before its event is done. A second run that is pending or failed
	// leaves the first one's message standing, and so does retention: an event that is
	// accepted under the same id later has another time than the message.
	functions.Invariant("message-early", `
SELECT printf('message %d (%s, %s) is there and its event %d is not done', m.id, o.client_id, o.message_id, o.seq)
FROM messages m JOIN clients c ON c.id = m.client
  JOIN outbox o ON o.client_id = c.external_client_id AND o.message_id = m.message_id
  LEFT JOIN results r ON r.seq = o.seq
WHERE m.received_at = o.received_at AND (r.seq IS NULL OR r.status <> 'done' AND r.run = 1)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = o.client_id AND l.seq = o.seq AND l.run > 1)`),

	// The same message twice in one chat is what the unique index refuses; in two
	// dialogs of a client only a second run, or a second event after retention has taken
	// the first, can have written it.
	functions.Invariant("message-doubled", `
SELECT printf('message %s is there %d times for client %d', m.message_id, count(*), m.client)
FROM messages m
GROUP BY m.message_id, m.client
HAVING count(*) > 1 AND (count(DISTINCT m.dialog) < count(*) OR EXISTS (
  SELECT 1 FROM clients c
    JOIN outbox o ON o.client_id = c.external_client_id AND o.message_id = m.message_id
    JOIN results r ON r.seq = o.seq
  WHERE c.id = m.client AND r.run = 1
    AND (SELECT count(*) FROM messages x WHERE x.message_id = m.message_id AND x.client = m.client AND x.received_at = o.received_at) > 1))`),

	functions.Invariant("client-doubled", `
SELECT printf('client %s with phone %s is there %d times', external_client_id, client_phone, count(*))
FROM clients GROUP BY external_client_id, client_phone HAVING count(*) > 1`),

	functions.Invariant("dialog-doubled", `
SELECT printf('client %d has %d active dialogs', client, count(*))
FROM dialogs WHERE active = 1 GROUP BY client HAVING count(*) > 1`),

	functions.Invariant("dialog-mixed", `
SELECT printf('message %d of client %d is in dialog %d of client %s', m.id, m.client, m.dialog, coalesce(d.client, 'none'))
FROM messages m LEFT JOIN dialogs d ON d.id = m.dialog
WHERE d.client IS NOT m.client`),

	functions.Invariant("dialog-open", `
SELECT printf('event %d (%s, %s) closed dialog %d, which is active', o.seq, o.client_id, o.message_id, d.id)
FROM outbox o JOIN results r ON r.seq = o.seq
  JOIN dialogs d ON d.id = iif(json_valid(r.output), r.output, '{}') ->> '$.dialog'
WHERE o.type = 'dialog.close' AND r.status = 'done' AND d.active = 1`),
}
