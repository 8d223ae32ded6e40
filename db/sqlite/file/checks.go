package file

import (
	"fmt"

	"inturn/db"
)

// The kinds of violations that Verify knows, beside those of the functions:
//
//	damaged          SQLite itself finds the file damaged, or a reference is dangling;
//	                 nothing else is looked at then
//	schema           a table, a column or the unique key of identities is not there
//	owner            there is not exactly one owner row
//	duplicate        one identity was accepted twice                       (promise 2)
//	lost             accepted, and neither scheduled nor pending nor settled; or other events are
//	                 pending than owner counts, as where a result is gone; or the file
//	                 lacks what the lock beside it says was answered       (promises 1, 8)
//	orphan-pending   pending without its event, or under another account   (promise 3)
//	orphan-result    a result without its event                            (promise 4)
//	pending-twice    one event is pending twice                            (promise 2)
//	settled-pending  an event is settled and still pending                 (promises 2, 4)
//	scheduled        an event is scheduled and pending, or has ended, or is another
//	                 account's, or is not there                            (promises 2, 3)
//	run              an event's runs are not 1, 2, … up to the present one (promises 2, 4)
//	overtaken        settled before an earlier turn of its account and not cancelled, or
//	                 replayed in another order than that of seq; or became pending
//	                 before one that was due earlier                       (promise 3)
//	counter          a counter would give out a number that is used        (promises 2, 3, 6)
//	history          an account's history lacks an event, or has one that isn't its
//	account          an account's row is missing, or is held by an event
//	                 that is not the first to run                          (promise 5)
//	audit            something was paused or run again, without a row in audit
//	value            a column has a value that its CHECK refuses: SQLite leaves those
//	                 out where it opens a file for reading
//	invariant-query  the query of a function's invariant can't run
const (
	kindDamaged        = "damaged"
	kindSchema         = "schema"
	kindLost           = "lost"
	kindInvariantQuery = "invariant-query"
)

// check is a query that returns a row for each violation of an invariant of the engine.
type check struct{ kind, query string }

// checks are the engine's own invariants, in the order in which they are made. The
// plans matter on a big file: outbox and results are walked together by rowid,
// and what has no index of its own
// is sorted once by SQLite, on disk where it is big. No query is quadratic in the
// events of an account.
var checks = []check{
	{kindSchema, `WITH wanted (name) AS (VALUES ('owner'), ('outbox'), ('history'), ('lanes'), ('pending'), ('accounts'), ('results'), ('function_tables'),
			('runs'), ('pauses'), ('audit'), ('erasing'), ('deliveries'), ('attempt_errors'), ('emitted'))
		SELECT format('table %s is missing', name) FROM wanted
		WHERE name NOT IN (SELECT name FROM sqlite_schema WHERE type IN ('table', 'view'))`},
	{kindSchema, `SELECT 'outbox has no unique key (message_id, client_id)' WHERE NOT EXISTS (
		SELECT 1 FROM pragma_index_list('outbox') i WHERE i."unique" AND NOT i.partial AND
		(SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) = 'message_id,client_id')`},
	{"value", `SELECT format('%s of %s is %s', name, key, quote(value)) FROM (
			SELECT 'status' AS name, 'seq ' || seq AS key, status AS value FROM results WHERE status NOT IN ('done', 'dead')
			UNION ALL SELECT 'status', 'run ' || run || ' of seq ' || seq, status FROM runs WHERE status NOT IN ('done', 'dead')
			UNION ALL SELECT 'scheduled', 'seq ' || seq, scheduled FROM deliveries WHERE scheduled NOT IN (0, 1)
			UNION ALL SELECT 'paused', 'account ' || client_id, paused FROM accounts WHERE paused NOT IN (0, 1)
			UNION ALL SELECT 'parked', 'account ' || client_id, parked FROM accounts WHERE parked NOT IN (0, 1)
			UNION ALL SELECT 'clean', 'owner', clean FROM owner WHERE clean NOT IN (0, 1)
			UNION ALL SELECT 'one', 'owner', one FROM owner WHERE one <> 1)`},
	{"owner", `SELECT format('%d owner rows', count(*)) FROM owner HAVING count(*) <> 1`},
	{"duplicate", `SELECT format('%s %s was accepted %d times', client_id, message_id, count(*))
		FROM outbox GROUP BY message_id, client_id HAVING count(*) > 1`},
	{kindLost, `SELECT format('seq %d of %s is neither scheduled nor pending nor settled', o.seq, o.client_id)
		FROM outbox o NOT INDEXED LEFT JOIN results r ON r.seq = o.seq
		WHERE r.seq IS NULL AND o.seq NOT IN (SELECT seq FROM pending) AND o.seq NOT IN (SELECT seq FROM scheduled)`},
	{kindLost, `SELECT format('%d events are pending, and %d were when this was last written', n, pending)
		FROM owner, (SELECT count(*) AS n FROM pending) WHERE n <> pending`},
	{"orphan-pending", `SELECT CASE WHEN o.seq IS NULL THEN format('turn %d of %s is of seq %d, which is not there', p.turn, p.client_id, p.seq)
		ELSE format('turn %d of %s is of seq %d, which belongs to %s', p.turn, p.client_id, p.seq, o.client_id) END
		FROM pending p LEFT JOIN outbox o ON o.seq = p.seq WHERE o.client_id IS NOT p.client_id`},
	{"orphan-result", `SELECT format('seq %d has a result and no event', r.seq)
		FROM results r LEFT JOIN outbox o ON o.seq = r.seq WHERE o.seq IS NULL`},
	{"pending-twice", `SELECT format('seq %d is pending %d times', seq, count(*)) FROM pending GROUP BY seq HAVING count(*) > 1`},
	{"settled-pending", `SELECT format('run %d of seq %d of %s is pending, run %d is settled', p.run, p.seq, p.client_id, r.run)
		FROM pending p JOIN results r ON r.seq = p.seq`},
	{"scheduled", `SELECT CASE WHEN o.seq IS NULL THEN format('seq %d has a deliver_at, and the event is not there', d.seq)
		ELSE format('seq %d has a deliver_at as one of %s, and belongs to %s', d.seq, d.client_id, o.client_id) END
		FROM deliveries d LEFT JOIN outbox o ON o.seq = d.seq WHERE o.client_id IS NOT d.client_id`},
	{"scheduled", `SELECT format('seq %d of %s is scheduled and %s', s.seq, s.client_id, is_too) FROM scheduled s JOIN (
			SELECT seq, 'pending' AS is_too FROM pending UNION ALL SELECT seq, 'settled' FROM results
			UNION ALL SELECT seq, 'has an earlier run' FROM runs) x ON x.seq = s.seq`},
	{"orphan-result", `SELECT format('run %d of seq %d is kept, and the event is not', k.run, k.seq)
		FROM runs k LEFT JOIN outbox o ON o.seq = k.seq WHERE o.seq IS NULL`},
	{"run", `SELECT format('seq %d is at run %d, and %d earlier ones are kept', seq, run, kept) FROM (
			SELECT c.seq, c.run, (SELECT count(*) FROM runs k WHERE k.seq = c.seq AND k.run BETWEEN 1 AND c.run - 1) AS kept
			FROM (SELECT seq, run FROM results UNION ALL SELECT seq, run FROM pending) c)
		WHERE kept <> run - 1`},
	{"run", `SELECT format('run %d of seq %d is kept as an earlier one, and the present one is %d', k.run, k.seq, c.run)
		FROM (SELECT r.seq, r.run FROM results r UNION ALL SELECT p.seq, p.run FROM pending p) c JOIN runs k ON k.seq = c.seq WHERE k.run >= c.run`},
	// A pending turn counts as one that will be settled after all others. Replayed
	// events have turns below 0 and an order of their own. What an operator cancelled
	// ended out of turn.
	{"overtaken", `WITH cancelled AS MATERIALIZED (SELECT seq, CASE WHEN json_valid(answer) THEN json_extract(answer, '$.run') END AS run
			FROM audit WHERE verb = 'cancel')
		SELECT format('turn %d of %s was settled before turn %d', turn, client_id, before) FROM (
			SELECT client_id, turn, settled, lag(settled) OVER account AS last, lag(turn) OVER account AS before FROM (
				SELECT o.client_id, r.turn, r.settled FROM results r CROSS JOIN outbox o ON o.seq = r.seq
					WHERE r.status = 'done' OR (r.seq, r.run) NOT IN (SELECT seq, run FROM cancelled WHERE run IS NOT NULL)
				UNION ALL SELECT o.client_id, k.turn, k.settled FROM runs k CROSS JOIN outbox o ON o.seq = k.seq
					WHERE k.status = 'done' OR (k.seq, k.run) NOT IN (SELECT seq, run FROM cancelled WHERE run IS NOT NULL)
				UNION ALL SELECT client_id, turn, NULL FROM pending)
			WINDOW account AS (PARTITION BY client_id, turn < 0 ORDER BY turn))
		WHERE settled IS NOT NULL AND before IS NOT NULL AND settled <= coalesce(last, settled)`},
	// Turns and seqs are of one counter: what had been accepted when an earlier turn was given
	// out was scheduled then, and was due no earlier. What is cancelled gets a turn unasked.
	{"overtaken", `WITH placed AS (SELECT p.seq, p.turn, d.client_id, d.deliver_at FROM (
				SELECT seq, run, turn FROM results UNION ALL SELECT seq, run, turn FROM runs UNION ALL SELECT seq, run, turn FROM pending) p
			CROSS JOIN deliveries d ON d.seq = p.seq WHERE p.run = 1 AND p.turn > p.seq
				AND p.seq NOT IN (SELECT seq FROM audit WHERE verb = 'cancel' AND seq IS NOT NULL))
		SELECT format('seq %d of %s was due before seq %d, and became pending after it', seq, client_id, before) FROM (
			SELECT seq, client_id, deliver_at, lag(seq) OVER account AS before, lag(turn) OVER account AS turn_before, lag(deliver_at) OVER account AS due_before
			FROM placed WINDOW account AS (PARTITION BY client_id ORDER BY turn))
		WHERE seq < turn_before AND (deliver_at < due_before OR deliver_at = due_before AND seq < before)`},
	// Where seq falls, another replay has begun; each was ordered.
	{"overtaken", `SELECT format('the replayed events of %s begin again %d times, and %d replays were ordered', client_id, begins, ordered) FROM (
			SELECT client_id, count(*) AS begins, (SELECT count(*) FROM audit a WHERE a.client_id = e.client_id AND a.verb = 'replay') AS ordered FROM (
				SELECT client_id, seq, lag(seq) OVER (PARTITION BY client_id ORDER BY turn) AS before FROM (
					SELECT o.client_id, r.seq, r.turn FROM results r CROSS JOIN outbox o ON o.seq = r.seq WHERE r.turn < 0
					UNION ALL SELECT o.client_id, k.seq, k.turn FROM runs k CROSS JOIN outbox o ON o.seq = k.seq WHERE k.turn < 0
					UNION ALL SELECT client_id, seq, turn FROM pending WHERE turn < 0)) e
			WHERE before IS NULL OR seq <= before GROUP BY client_id)
		WHERE begins > ordered`},
	{"counter", fmt.Sprintf(`SELECT format('next_seq is %%d, but %%s %%d is used', next_seq, what, used) FROM owner, (
			SELECT 'seq' AS what, max(seq) AS used FROM outbox
			UNION ALL SELECT 'flushed seq', flushed FROM owner
			UNION ALL SELECT 'turn', max(iif(turn < 0, turn - (%[1]d), turn)) FROM pending
			UNION ALL SELECT 'turn', max(iif(turn < 0, turn - (%[1]d), turn)) FROM results
			UNION ALL SELECT 'turn', max(iif(turn < 0, turn - (%[1]d), turn)) FROM runs)
		WHERE used >= next_seq`, int64(db.ReplayOffset))},
	{"counter", `SELECT format('next_settled is %d, but %d is used', next_settled, used)
		FROM owner, (SELECT max(settled) AS used FROM results UNION ALL SELECT max(settled) FROM runs) WHERE used >= next_settled`},
	{"counter", `SELECT format('place %d in the order of settles is used %d times', settled, count(*))
		FROM (SELECT settled FROM results UNION ALL SELECT settled FROM runs) GROUP BY settled HAVING count(*) > 1`},
	{"history", `SELECT format('seq %d is not in the history of %s', o.seq, o.client_id)
		FROM outbox o NOT INDEXED LEFT JOIN history h ON h.client_id = o.client_id AND h.seq = o.seq
		WHERE o.seq <= (SELECT flushed FROM owner) AND h.seq IS NULL`},
	{"history", `SELECT format('the history of %s has seq %d, which is not its event', h.client_id, h.seq)
		FROM history h LEFT JOIN outbox o ON o.seq = h.seq WHERE o.client_id IS NOT h.client_id`},
	{"orphan-result", `SELECT format('%s of seq %d is kept, and the event is not', what, k.seq) FROM (
			SELECT 'an error' AS what, seq FROM attempt_errors UNION SELECT 'what is emitted', seq FROM emitted) k
		WHERE k.seq NOT IN (SELECT seq FROM outbox)`},
	{"account", `SELECT DISTINCT format('account %s has events and no row', client_id)
		FROM outbox o NOT INDEXED WHERE NOT EXISTS (SELECT 1 FROM accounts a WHERE a.client_id = o.client_id)`},
	// SQLite takes seq from the row with the least turn.
	{"account", `WITH head AS MATERIALIZED (SELECT client_id, seq, min(turn) FROM pending
			WHERE client_id IN (SELECT client_id FROM accounts WHERE head_seq IS NOT NULL) GROUP BY client_id)
		SELECT format('account %s is held by seq %d, which is not its first pending event', a.client_id, a.head_seq)
		FROM accounts a LEFT JOIN head ON head.client_id = a.client_id WHERE a.head_seq IS NOT NULL AND a.head_seq IS NOT head.seq`},
	{"account", `SELECT format('account %s is %s, and no event is named that holds it', client_id,
			CASE WHEN parked THEN 'parked' ELSE 'retried' END)
		FROM accounts WHERE head_seq IS NULL AND (parked OR attempts <> 0 OR next_at IS NOT NULL)`},
	{"account", `SELECT format('account %s names seq %d, which neither was attempted nor is parked', client_id, head_seq)
		FROM accounts WHERE head_seq IS NOT NULL AND attempts = 0 AND NOT parked`},
	{"account", `SELECT format('the replay of account %s goes from %s to %s, up to settle %s', client_id,
			quote(replay_next), quote(replay_to), quote(replay_settled))
		FROM accounts WHERE (replay_next IS NULL) <> (replay_to IS NULL) OR (replay_next IS NULL) <> (replay_settled IS NULL)`},
	{"audit", `SELECT format('run %d of seq %d of %s was not the last, and nobody redrove or replayed it', k.run, k.seq, o.client_id)
		FROM runs k JOIN outbox o ON o.seq = k.seq WHERE NOT EXISTS (SELECT 1 FROM audit a
			WHERE a.client_id = o.client_id AND (a.verb = 'replay' OR a.verb = 'redrive' AND a.seq = k.seq))`},
	{"audit", `SELECT format('account %s is paused, and nobody did that', client_id) FROM accounts c
		WHERE paused AND NOT EXISTS (SELECT 1 FROM audit a WHERE a.client_id = c.client_id AND a.verb = 'pause')`},
	{"audit", `SELECT format('type %s is paused, and nobody did that', quote(type)) FROM pauses p
		WHERE NOT EXISTS (SELECT 1 FROM audit a WHERE a.verb = 'pause' AND a.client_id IS NULL AND coalesce(a.type, '') = p.type)`},
	{"audit", `SELECT format('row %d of the audit is a part of bulk act %d, which is not there', a.id, a.bulk)
		FROM audit a LEFT JOIN audit b ON b.id = a.bulk AND b.bulk = 0 WHERE a.bulk > 0 AND b.id IS NULL`},
	{"audit", `SELECT format('row %d of the audit has no JSON as its answer', id) FROM audit WHERE NOT json_valid(answer)`},
}
