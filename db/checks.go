package db

import "fmt"

// The kinds of violations that Verify knows, beside those of the functions:
//
//	damaged          SQLite itself finds the file damaged, or a reference is dangling;
//	                 nothing else is looked at then
//	schema           not a file of this version: mark, version, a table, a column or
//	                 the unique key of identities is not there
//	owner            there is not exactly one owner row
//	duplicate        one identity was accepted twice                       (promise 2)
//	lost             accepted, and neither pending nor settled             (promises 1, 8)
//	orphan-pending   pending without its event, or under another account   (promise 3)
//	orphan-result    a result without its event                            (promise 4)
//	pending-twice    one event is pending twice                            (promise 2)
//	settled-pending  a run is settled and still pending                    (promises 2, 4)
//	overtaken        settled before an earlier turn of its account         (promise 3)
//	counter          a counter would give out a number that is used        (promises 2, 3, 6)
//	history          an account's history lacks an event, or has one that isn't its
//	account          an account's row is missing, or is held by an event
//	                 that is not the first to run                          (promise 5)
//	value            a column has a value that its CHECK refuses: SQLite leaves those
//	                 out where it opens a file for reading
//	invariant-query  the query of a function's invariant can't run
const (
	kindDamaged        = "damaged"
	kindSchema         = "schema"
	kindInvariantQuery = "invariant-query"
)

// checks are the engine's own invariants, in the order in which they are made. The
// plans matter on a big file: outbox and results are walked together by rowid,
// and what has no index of its own
// is sorted once by SQLite, on disk where it is big. No query is quadratic in the
// events of an account.
var checks = []Invariant{
	// The first one decides whether the file is ours.
	{kindSchema, fmt.Sprintf(`SELECT format('application_id is %%d, not %d: this is a file of another program', application_id)
		FROM pragma_application_id WHERE application_id <> %[1]d`, applicationID)},
	{kindSchema, fmt.Sprintf(`SELECT format('user_version is %%d, not %d', user_version)
		FROM pragma_user_version WHERE user_version <> %[1]d`, schemaVersion)},
	{kindSchema, `WITH wanted (name) AS (VALUES ('owner'), ('outbox'), ('history'), ('pending'), ('accounts'), ('results'), ('function_tables'))
		SELECT format('table %s is missing', name) FROM wanted
		WHERE name NOT IN (SELECT name FROM sqlite_schema WHERE type = 'table')`},
	{kindSchema, `SELECT 'outbox has no unique key (message_id, client_id)' WHERE NOT EXISTS (
		SELECT 1 FROM pragma_index_list('outbox') i WHERE i."unique" AND NOT i.partial AND
		(SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) = 'message_id,client_id')`},
	{"value", `SELECT format('%s of %s is %s', name, key, quote(value)) FROM (
			SELECT 'status' AS name, 'seq ' || seq AS key, status AS value FROM results WHERE status NOT IN ('done', 'dead')
			UNION ALL SELECT 'parked', 'account ' || client_id, parked FROM accounts WHERE parked NOT IN (0, 1)
			UNION ALL SELECT 'clean', 'owner', clean FROM owner WHERE clean NOT IN (0, 1)
			UNION ALL SELECT 'one', 'owner', one FROM owner WHERE one <> 1)`},
	{"owner", `SELECT format('%d owner rows', count(*)) FROM owner HAVING count(*) <> 1`},
	{"duplicate", `SELECT format('%s %s was accepted %d times', client_id, message_id, count(*))
		FROM outbox GROUP BY message_id, client_id HAVING count(*) > 1`},
	{"lost", `SELECT format('seq %d of %s is neither pending nor settled', o.seq, o.client_id)
		FROM outbox o NOT INDEXED LEFT JOIN results r ON r.seq = o.seq
		WHERE r.seq IS NULL AND o.seq NOT IN (SELECT seq FROM pending)`},
	{"orphan-pending", `SELECT CASE WHEN o.seq IS NULL THEN format('turn %d of %s is of seq %d, which is not there', p.turn, p.client_id, p.seq)
		ELSE format('turn %d of %s is of seq %d, which belongs to %s', p.turn, p.client_id, p.seq, o.client_id) END
		FROM pending p LEFT JOIN outbox o ON o.seq = p.seq WHERE o.client_id IS NOT p.client_id`},
	{"orphan-result", `SELECT format('seq %d has a result and no event', r.seq)
		FROM results r LEFT JOIN outbox o ON o.seq = r.seq WHERE o.seq IS NULL`},
	{"pending-twice", `SELECT format('seq %d is pending %d times', seq, count(*)) FROM pending GROUP BY seq HAVING count(*) > 1`},
	{"settled-pending", `SELECT format('run %d of seq %d of %s is pending, run %d is settled', p.run, p.seq, p.client_id, r.run)
		FROM pending p JOIN results r ON r.seq = p.seq WHERE p.run <= r.run`},
	// A pending turn counts as one that will be settled after all others.
	{"overtaken", `SELECT format('turn %d of %s was settled before turn %d', turn, client_id, before) FROM (
			SELECT client_id, turn, settled, lag(settled) OVER account AS last, lag(turn) OVER account AS before FROM (
				SELECT o.client_id, r.turn, r.settled FROM results r CROSS JOIN outbox o ON o.seq = r.seq
				UNION ALL SELECT client_id, turn, NULL FROM pending)
			WINDOW account AS (PARTITION BY client_id ORDER BY turn))
		WHERE settled IS NOT NULL AND before IS NOT NULL AND settled <= coalesce(last, settled)`},
	{"counter", `SELECT format('next_seq is %d, but %s %d is used', next_seq, what, used) FROM owner, (
			SELECT 'seq' AS what, max(seq) AS used FROM outbox
			UNION ALL SELECT 'filed seq', filed FROM owner
			UNION ALL SELECT 'turn', max(turn) FROM pending
			UNION ALL SELECT 'turn', max(turn) FROM results)
		WHERE used >= next_seq`},
	{"counter", `SELECT format('next_settled is %d, but %d is used', next_settled, used)
		FROM owner, (SELECT max(settled) AS used FROM results) WHERE used >= next_settled`},
	{"counter", `SELECT format('place %d in the order of settles is used %d times', settled, count(*))
		FROM results GROUP BY settled HAVING count(*) > 1`},
	{"history", `SELECT format('seq %d is not in the history of %s', o.seq, o.client_id)
		FROM outbox o NOT INDEXED LEFT JOIN history h ON h.client_id = o.client_id AND h.seq = o.seq
		WHERE o.seq <= (SELECT filed FROM owner) AND h.seq IS NULL`},
	{"history", `SELECT format('the history of %s has seq %d, which is not its event', h.client_id, h.seq)
		FROM history h LEFT JOIN outbox o ON o.seq = h.seq WHERE o.client_id IS NOT h.client_id`},
	{"account", `SELECT DISTINCT format('account %s has events and no row', client_id)
		FROM outbox o NOT INDEXED WHERE NOT EXISTS (SELECT 1 FROM accounts a WHERE a.client_id = o.client_id)`},
	{"account", `SELECT format('account %s is held by seq %d, which is not its first pending event', client_id, head_seq)
		FROM accounts a WHERE head_seq IS NOT NULL AND head_seq IS NOT (
			SELECT seq FROM pending p WHERE p.client_id = a.client_id ORDER BY turn LIMIT 1)`},
	{"account", `SELECT format('account %s is %s, and no event is named that holds it', client_id,
			CASE WHEN parked THEN 'parked' ELSE 'retried' END)
		FROM accounts WHERE head_seq IS NULL AND (parked OR attempts <> 0 OR next_at IS NOT NULL)`},
	{"account", `SELECT format('account %s names seq %d, which neither was attempted nor is parked', client_id, head_seq)
		FROM accounts WHERE head_seq IS NOT NULL AND attempts = 0 AND NOT parked`},
}
