package message

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"inturn/functions"
)

// healthy is a file in which every invariant holds: messages done, pending, dead,
// in a second run or after it, and one whose event retention took.
const healthy = `
INSERT INTO outbox VALUES
  (1, 'a', 'm1', 'message', '{"phone":"+1111111","text":"z\u00e9ro \ud83d\ude00 \"q\" \/"}', 1, 'r', NULL),
  (2, 'a', 'm2', 'message', '{"phone":"+1111111","text":"two"}', 2, 'r', NULL),
  (3, 'b', 'm1', 'message', '{"phone":"+1111111","text":"three"}', 3, 'r', NULL),
  (4, 'a', 'c1', 'dialog.close', '{"phone":"+1111111"}', 4, 'r', NULL),
  (5, 'a', 'm5', 'message', '{"phone":"+1111111","text":"five"}', 5, 'r', NULL),
  (6, 'a', 'm6', 'message', '{"phone":"+1111111","text":"pending"}', 6, 'r', NULL),
  (7, 'c', 'm7', 'message', '{"phone":"+3333333","text":"dead"}', 7, 'r', NULL),
  (8, 'c', 'c8', 'dialog.close', '{"phone":"+3333333"}', 8, 'r', NULL),
  (9, 'd', 'm9', 'message', '{"phone":"+4444444","text":"runs again"}', 9, 'r', NULL),
  (11, 'e', 'm11', 'message', '{"phone":"+5555555","text":"ran again, after a close"}', 11, 'r', NULL),
  (12, 'e', 'w12', 'work', '{}', 12, 'r', NULL),
  (13, 'd', 'm13', 'message', '{"phone":"+4444444","text":"dead in its second run"}', 13, 'r', NULL);
INSERT INTO pending VALUES ('a', 6, 6, 1), ('d', 20, 9, 2);
INSERT INTO results VALUES
  (1, 1, 1, 1, 'done', 1, 1, 1, '{"client":1,"dialog":1,"message":1}', NULL),
  (2, 1, 2, 2, 'done', 1, 1, 1, '{"client":1,"dialog":1,"message":2}', NULL),
  (3, 1, 3, 3, 'done', 1, 1, 1, '{"client":2,"dialog":2,"message":3}', NULL),
  (4, 1, 4, 4, 'done', 1, 1, 1, '{"dialog":1}', NULL),
  (5, 1, 5, 5, 'done', 1, 1, 1, '{"client":1,"dialog":3,"message":5}', NULL),
  (7, 1, 7, 6, 'dead', 3, 1, 1, NULL, 'no'),
  (8, 1, 8, 7, 'done', 1, 1, 1, '{"dialog":null}', NULL),
  (11, 2, 21, 8, 'done', 1, 1, 1, '{"client":5,"dialog":6,"message":9}', NULL),
  (12, 1, 12, 9, 'done', 1, 1, 1, NULL, NULL),
  (13, 2, 22, 10, 'dead', 1, 1, 1, NULL, 'no');
INSERT INTO clients VALUES (1, 'a', '+1111111'), (2, 'b', '+1111111'), (4, 'd', '+4444444'), (5, 'e', '+5555555');
INSERT INTO dialogs VALUES (1, 1, 0, 1, 4), (2, 2, 1, 3, NULL), (3, 1, 1, 5, NULL), (4, 4, 1, 9, NULL), (5, 5, 0, 1, 2), (6, 5, 1, 3, NULL);
INSERT INTO messages VALUES
  (1, 1, 1, 'm1', 'zéro 😀 "q" /', 1), (2, 1, 1, 'm2', 'two', 2), (3, 2, 2, 'm1', 'three', 3), (5, 1, 3, 'm5', 'five', 5),
  (6, 4, 4, 'm9', 'runs again', 9), (10, 4, 4, 'm13', 'dead in its second run', 13), (7, 2, 2, 'gone', 'event taken by retention', 1),
  (8, 5, 5, 'm11', 'ran again, after a close', 11), (9, 5, 6, 'm11', 'ran again, after a close', 11);`

// loose is tables.sql without what would refuse the violations.
func loose(t testing.TB) string {
	t.Helper()
	s := tables
	s = strings.ReplaceAll(s, "CREATE UNIQUE INDEX", "CREATE INDEX")
	s = strings.ReplaceAll(s, "UNIQUE (message_id, dialog)", "CHECK (1)")
	s = strings.ReplaceAll(s, "UNIQUE (external_client_id, client_phone)", "CHECK (1)")
	s = strings.ReplaceAll(s, " REFERENCES clients (id)", "")
	s = strings.ReplaceAll(s, " REFERENCES dialogs (id)", "")
	if strings.Contains(s, "UNIQUE ") || strings.Contains(s, "REFERENCES") {
		t.Fatalf("something still refuses:\n%s", s)
	}
	return s
}

// violations asks every invariant and returns "kind: text" lines.
func violations(t testing.TB, conn *sql.Conn) []string {
	t.Helper()
	set, err := functions.NewSet(Function, Close)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, inv := range set.Invariants() {
		for _, row := range read(t, conn, inv.Query) {
			all = append(all, inv.Kind+": "+row)
		}
	}
	return all
}

func TestInvariantsHold(t *testing.T) {
	conn := openFile(t, tables)
	mustExec(t, conn, healthy)
	if got := violations(t, conn); got != nil {
		t.Errorf("a healthy file: %q", got)
	}
}

// An event that retention took is sent again: it is a new one beside its old message.
func TestInvariantsKnowRetention(t *testing.T) {
	for name, again := range map[string]string{
		"pending": `INSERT INTO pending VALUES ('b', 30, 30, 1)`,
		"dead":    `INSERT INTO results VALUES (30, 1, 30, 30, 'dead', 1, 1, 1, NULL, 'no')`,
		"done":    `INSERT INTO results VALUES (30, 1, 30, 30, 'done', 1, 1, 1, '{"client":2,"dialog":2,"message":3}', NULL)`,
		"done after a close": `UPDATE dialogs SET active = 0, closed_at = 20 WHERE id = 2; INSERT INTO dialogs VALUES (20, 2, 1, 30, NULL);
			INSERT INTO messages VALUES (20, 2, 20, 'm1', 'three', 30);
			INSERT INTO results VALUES (30, 1, 30, 30, 'done', 1, 1, 1, '{"client":2,"dialog":20,"message":20}', NULL)`,
	} {
		t.Run(name, func(t *testing.T) {
			conn := openFile(t, tables)
			mustExec(t, conn, healthy)
			mustExec(t, conn, `DELETE FROM results WHERE seq = 3; DELETE FROM outbox WHERE seq = 3;
				INSERT INTO outbox VALUES (30, 'b', 'm1', 'message', '{"phone":"+1111111","text":"three"}', 30, 'r', NULL)`)
			mustExec(t, conn, again)
			if got := violations(t, conn); got != nil {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestInvariantsNameWhatIsPlanted(t *testing.T) {
	for _, c := range []struct{ kind, plant string }{
		{"message-missing", `DELETE FROM messages WHERE id = 2`},
		{"message-missing", `UPDATE messages SET text = 'other' WHERE id = 1`},
		{"message-missing", `UPDATE messages SET message_id = 'other' WHERE id = 3`},
		{"message-missing", `UPDATE clients SET client_phone = '+9' WHERE id = 2`},
		{"message-missing", `UPDATE results SET output = NULL WHERE seq = 1`},
		{"message-missing", `UPDATE results SET output = '{"client":' WHERE seq = 1`},
		{"message-missing", `UPDATE results SET output = '{"client":1,"dialog":3,"message":2}' WHERE seq = 2`},
		{"message-early", `INSERT INTO messages VALUES (99, 1, 3, 'm6', 'pending', 6)`},
		{"message-early", `DELETE FROM results WHERE seq = 5`},
		{"message-early", `DELETE FROM pending WHERE seq = 9`},
		{"message-early", `UPDATE results SET status = 'dead', error = 'x' WHERE seq = 3`},
		{"message-doubled", `INSERT INTO messages VALUES (99, 1, 1, 'm2', 'two', 2)`},
		{"message-doubled", `INSERT INTO messages VALUES (99, 1, 3, 'm2', 'two', 2)`},
		{"client-doubled", `INSERT INTO clients VALUES (99, 'a', '+1111111')`},
		{"dialog-doubled", `INSERT INTO dialogs VALUES (99, 1, 1, 1, NULL)`},
		{"dialog-mixed", `UPDATE dialogs SET client = 4 WHERE id = 2`},
		{"dialog-mixed", `DELETE FROM dialogs WHERE id = 2`},
		{"dialog-open", `UPDATE dialogs SET active = 1, closed_at = NULL WHERE id = 1; UPDATE dialogs SET active = 0, closed_at = 1 WHERE id = 3`},
	} {
		t.Run(c.kind, func(t *testing.T) {
			conn := openFile(t, loose(t))
			mustExec(t, conn, healthy)
			if got := violations(t, conn); got != nil {
				t.Fatalf("before planting: %q", got)
			}
			mustExec(t, conn, c.plant)
			// One plant may break more than one promise; the named one must be told.
			got := violations(t, conn)
			for _, v := range got {
				if strings.HasPrefix(v, c.kind+": ") {
					return
				}
			}
			t.Errorf("%s\nfound %q", c.plant, got)
		})
	}
}

// At a million rows an invariant may walk one table and must find the rest by key.
func TestInvariantsWalkOneTable(t *testing.T) {
	conn := openFile(t, tables)
	set, err := functions.NewSet(Function, Close)
	if err != nil {
		t.Fatal(err)
	}
	for _, inv := range set.Invariants() {
		walked := 0
		for _, line := range plan(t, conn, inv.Query) {
			if strings.HasPrefix(line, "SCAN") {
				walked++
			}
			if strings.Contains(line, "AUTOMATIC") {
				t.Errorf("%s builds an index: %s", inv.Kind, line)
			}
		}
		if walked != 1 {
			t.Errorf("%s walks %d tables: %s", inv.Kind, walked, strings.Join(plan(t, conn, inv.Query), "; "))
		}
	}
}

// BenchmarkInvariants asks all of them on a file with 100,000 messages.
func BenchmarkInvariants(b *testing.B) {
	conn := openFile(b, tables)
	mustExec(b, conn, `BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO outbox SELECT i, 'c' || (i % 1000), 'm' || i, 'message', '{"phone":"+1111111","text":"hello"}', i, 'r', NULL FROM n;
INSERT INTO clients SELECT i, 'c' || (i - 1), '+1111111' FROM (SELECT seq AS i FROM outbox ORDER BY seq LIMIT 1000);
INSERT INTO dialogs SELECT id, id, 1, 1, NULL FROM clients;
INSERT INTO messages SELECT seq, seq % 1000 + 1, seq % 1000 + 1, message_id, 'hello', 1 FROM outbox;
INSERT INTO results SELECT seq, 1, seq, seq, 'done', 1, 1, 1, json_object('client', seq % 1000 + 1, 'dialog', seq % 1000 + 1, 'message', seq), NULL FROM outbox;
COMMIT`)
	for b.Loop() {
		if got := violations(b, conn); got != nil {
			b.Fatal(fmt.Sprint(len(got)), got[0])
		}
	}
}
