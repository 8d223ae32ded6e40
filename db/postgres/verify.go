package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// maxPerCheck bounds the violations that are reported of one kind.
const maxPerCheck = 100

// Verify returns what must not be in the schema, as of one snapshot: of promises 1 to 6 what
// the rows alone can show, and what is asked. It may run while nodes write.
func Verify(ctx context.Context, url, schema string, asked []db.Invariant) (found []db.Violation, err error) {
	c, err := (&address{url: url, schema: schema}).connect(ctx, "default_transaction_read_only = on")
	if err != nil {
		return nil, err
	}
	defer closeConn(c)
	err = pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		for _, check := range invariants {
			some, err := violations(ctx, tx, check.kind, check.query)
			if err != nil {
				return fmt.Errorf("check %s: %w", check.kind, err)
			}
			found = append(found, some...)
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	for _, i := range asked {
		native, _ := rewrite(i.Query)
		some, err := violations(ctx, c, i.Kind, native)
		if err != nil {
			some = []db.Violation{{Kind: "invariant-query", Detail: fmt.Sprintf("%s: %v", i.Kind, err)}}
		}
		found = append(found, some...)
	}
	return found, nil
}

type queryer interface {
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
}

func violations(ctx context.Context, q queryer, kind, text string) (found []db.Violation, err error) {
	rows, err := q.Query(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() && len(found) < maxPerCheck {
		values, err := rows.Values()
		if err != nil {
			return found, err
		}
		found = append(found, db.Violation{Kind: kind, Detail: fmt.Sprint(values[0])})
	}
	return found, rows.Err()
}

// invariants are the engine's own invariants; their kinds are those of `inturn check` on SQLite.
var invariants = []struct{ kind, query string }{
	{"owner", `SELECT format('%s slots have no writer', count(*)) FROM slots s WHERE NOT EXISTS (SELECT 1 FROM writers w WHERE w.id = s.writer) HAVING count(*) > 0`},
	{"owner", `SELECT format('there are %s slots', count(*)) FROM slots HAVING count(*) <> 1024`},
	{"duplicate", `SELECT format('%s %s was accepted %s times', client_id, message_id, count(*)) FROM outbox GROUP BY message_id, client_id HAVING count(*) > 1`},
	{"lost", `SELECT format('seq %s of %s is neither pending nor settled', o.seq, o.client_id)
		FROM outbox o LEFT JOIN results r ON r.seq = o.seq LEFT JOIN pending p ON p.seq = o.seq WHERE r.seq IS NULL AND p.seq IS NULL`},
	{"orphan-pending", `SELECT CASE WHEN o.seq IS NULL THEN format('turn %s of %s is of seq %s, which is not there', p.turn, p.client_id, p.seq)
		ELSE format('turn %s of %s is of seq %s, which belongs to %s', p.turn, p.client_id, p.seq, o.client_id) END
		FROM pending p LEFT JOIN outbox o ON o.seq = p.seq WHERE o.client_id IS DISTINCT FROM p.client_id`},
	{"orphan-result", `SELECT format('seq %s has a result and no event', r.seq) FROM results r LEFT JOIN outbox o ON o.seq = r.seq WHERE o.seq IS NULL`},
	{"pending-twice", `SELECT format('seq %s is pending %s times', seq, count(*)) FROM pending GROUP BY seq HAVING count(*) > 1`},
	{"settled-pending", `SELECT format('run %s of seq %s of %s is pending, run %s is settled', p.run, p.seq, p.client_id, r.run)
		FROM pending p JOIN results r ON r.seq = p.seq`},
	{"orphan-result", `SELECT format('run %s of seq %s is kept, and the event is not', k.run, k.seq)
		FROM runs k LEFT JOIN outbox o ON o.seq = k.seq WHERE o.seq IS NULL`},
	{"run", `SELECT format('seq %s is at run %s, and %s earlier ones are kept', c.seq, c.run, count(k.run))
		FROM (SELECT seq, run FROM results UNION ALL SELECT seq, run FROM pending) c LEFT JOIN runs k ON k.seq = c.seq AND k.run BETWEEN 1 AND c.run - 1
		GROUP BY c.seq, c.run HAVING count(k.run) <> c.run - 1`},
	{"run", `SELECT format('run %s of seq %s is kept as an earlier one, and the present one is %s', k.run, k.seq, c.run)
		FROM (SELECT r.seq, r.run FROM results r UNION ALL SELECT p.seq, p.run FROM pending p) c JOIN runs k ON k.seq = c.seq WHERE k.run >= c.run`},
	// A pending turn counts as one that will be settled after all others. Replayed events
	// have turns below 0 and an order of their own. What an operator cancelled ended out of
	// turn.
	{"overtaken", `WITH cancelled AS MATERIALIZED (SELECT seq, (answer::json->>'run')::bigint AS run FROM audit WHERE verb = 'cancel'),
			ended AS (SELECT o.client_id, r.seq, r.run, r.turn, r.settled, r.status FROM results r JOIN outbox o ON o.seq = r.seq
				UNION ALL SELECT o.client_id, k.seq, k.run, k.turn, k.settled, k.status FROM runs k JOIN outbox o ON o.seq = k.seq)
		SELECT format('turn %s of %s was settled before turn %s', turn, client_id, before) FROM (
			SELECT client_id, turn, settled, lag(settled) OVER account AS last, lag(turn) OVER account AS before FROM (
				SELECT e.client_id, e.turn, e.settled FROM ended e
					WHERE e.status = 'done' OR NOT EXISTS (SELECT 1 FROM cancelled c WHERE c.seq = e.seq AND c.run = e.run)
				UNION ALL SELECT client_id, turn, NULL FROM pending) u
			WINDOW account AS (PARTITION BY client_id, turn < 0 ORDER BY turn)) w
		WHERE settled IS NOT NULL AND before IS NOT NULL AND settled <= coalesce(last, settled)`},
	// Where seq falls, another replay has begun; each was ordered.
	{"overtaken", `SELECT format('the replayed events of %s begin again %s times, and %s replays were ordered', client_id, begins, ordered) FROM (
			SELECT client_id, count(*) AS begins, (SELECT count(*) FROM audit a WHERE a.client_id = e.client_id AND a.verb = 'replay') AS ordered FROM (
				SELECT client_id, seq, lag(seq) OVER (PARTITION BY client_id ORDER BY turn) AS before FROM (
					SELECT o.client_id, r.seq, r.turn FROM results r JOIN outbox o ON o.seq = r.seq WHERE r.turn < 0
					UNION ALL SELECT o.client_id, k.seq, k.turn FROM runs k JOIN outbox o ON o.seq = k.seq WHERE k.turn < 0
					UNION ALL SELECT client_id, seq, turn FROM pending WHERE turn < 0) u) e
			WHERE before IS NULL OR seq <= before GROUP BY client_id) b
		WHERE begins > ordered`},
	{"counter", fmt.Sprintf(`SELECT format('%%s %%s is used, and its block of numbers was not drawn', what, used) FROM (
			SELECT 'seq' AS what, max(seq) AS used FROM outbox
			UNION ALL SELECT 'turn', max(CASE WHEN turn < 0 THEN turn - (%[1]d)::bigint ELSE turn END) FROM pending
			UNION ALL SELECT 'turn', max(CASE WHEN turn < 0 THEN turn - (%[1]d)::bigint ELSE turn END) FROM results
			UNION ALL SELECT 'turn', max(CASE WHEN turn < 0 THEN turn - (%[1]d)::bigint ELSE turn END) FROM runs
			UNION ALL SELECT 'place', max(settled) FROM results
			UNION ALL SELECT 'place', max(settled) FROM runs) u
		WHERE used >> %[2]d > (SELECT last_value FROM blocks)`, int64(db.ReplayOffset), blockBits)},
	{"counter", `SELECT format('place %s in the order of settles is used %s times', settled, count(*))
		FROM (SELECT settled FROM results UNION ALL SELECT settled FROM runs) u GROUP BY settled HAVING count(*) > 1`},
	{"account", `SELECT DISTINCT format('account %s has events and no row', o.client_id)
		FROM outbox o LEFT JOIN accounts a ON a.client_id = o.client_id WHERE a.client_id IS NULL`},
	{"account", `SELECT format('account %s is held by seq %s, which is not its first pending event', a.client_id, a.head_seq)
		FROM accounts a LEFT JOIN LATERAL (SELECT p.seq FROM pending p WHERE p.client_id = a.client_id ORDER BY p.turn LIMIT 1) head ON true
		WHERE a.head_seq IS NOT NULL AND a.head_seq IS DISTINCT FROM head.seq`},
	{"account", `SELECT format('account %s is %s, and no event is named that holds it', client_id, CASE WHEN parked = 1 THEN 'parked' ELSE 'retried' END)
		FROM accounts WHERE head_seq IS NULL AND (parked = 1 OR attempts <> 0 OR next_at IS NOT NULL)`},
	{"account", `SELECT format('account %s names seq %s, which neither was attempted nor is parked', client_id, head_seq)
		FROM accounts WHERE head_seq IS NOT NULL AND attempts = 0 AND parked = 0`},
	{"account", `SELECT format('the replay of account %s goes from %s to %s, up to settle %s', client_id, replay_next, replay_to, replay_settled)
		FROM accounts WHERE (replay_next IS NULL) <> (replay_to IS NULL) OR (replay_next IS NULL) <> (replay_settled IS NULL)`},
	{"audit", `SELECT format('run %s of seq %s of %s was not the last, and nobody redrove or replayed it', k.run, k.seq, o.client_id)
		FROM runs k JOIN outbox o ON o.seq = k.seq WHERE NOT EXISTS (SELECT 1 FROM audit a
			WHERE a.client_id = o.client_id AND (a.verb = 'replay' OR a.verb = 'redrive' AND a.seq = k.seq))`},
	{"audit", `SELECT format('account %s is paused, and nobody did that', client_id) FROM accounts c
		WHERE paused = 1 AND NOT EXISTS (SELECT 1 FROM audit a WHERE a.client_id = c.client_id AND a.verb = 'pause')`},
	{"audit", `SELECT format('type %L is paused, and nobody did that', type) FROM pauses p
		WHERE NOT EXISTS (SELECT 1 FROM audit a WHERE a.verb = 'pause' AND a.client_id IS NULL AND coalesce(a.type, '') = p.type)`},
	{"audit", `SELECT format('row %s of the audit is a part of bulk act %s, which is not there', a.id, a.bulk)
		FROM audit a LEFT JOIN audit b ON b.id = a.bulk AND b.bulk = 0 WHERE a.bulk > 0 AND b.id IS NULL`},
}
