package sqlite

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

var orRollback = regexp.MustCompile(`(?i)or\s+rollback`)

// forbidden has statements that no effect may run, and what their error names.
var forbidden = map[string]string{
	"BEGIN": "transaction statement", "COMMIT": "transaction statement", "end": "transaction statement", "ROLLBACK": "transaction statement",
	"SAVEPOINT a": "savepoint statement", "RELEASE op": "savepoint statement", "ROLLBACK TO op": "savepoint statement",
	"PRAGMA user_version = 9": "PRAGMA", "PRAGMA query_only": "PRAGMA", "ATTACH ':memory:' AS a": "ATTACH", "DETACH main": "DETACH",
	"VACUUM": "more than read and write rows", "VACUUM INTO 'copy.db'": "more than read and write rows", "EXPLAIN VACUUM": "more than read and write rows",
	"CREATE TABLE a (b)": "CREATE TABLE", "CREATE TABLE a AS SELECT 1": "CREATE TABLE", "CREATE TEMP TABLE a (b)": "CREATE TEMP TABLE",
	"CREATE VIEW a AS SELECT 1": "CREATE VIEW", "CREATE INDEX a ON notes (text)": "CREATE INDEX", "DROP TABLE notes": "DROP TABLE",
	"CREATE TRIGGER a AFTER INSERT ON outbox BEGIN SELECT 1; END": "CREATE TRIGGER", "ALTER TABLE notes ADD COLUMN a": "ALTER TABLE",
	"ANALYZE": "ANALYZE", "REINDEX": "REINDEX", "/* a */ COMMIT": "transaction statement", "-- SELECT\nCOMMIT": "transaction statement",
	"SELECT load_extension('x')":        "call of load_extension",
	"SELECT * FROM pragma_optimize(-1)": "SELECT of ", "SELECT 1 FROM PRAGMA_optimize AS a": "SELECT of ",
	"INSERT INTO notes (text) SELECT count(*) FROM pragma_optimize(0x10002)": "SELECT of ",

	"UPDATE owner SET epoch = epoch + 1":                          "UPDATE of owner",
	"WITH a AS (SELECT 1) UPDATE owner SET epoch = (SELECT 9)":    "UPDATE of owner",
	"INSERT INTO outbox SELECT * FROM outbox":                     "INSERT of outbox",
	"UPDATE OUTBOX SET payload = 'x'":                             "UPDATE of outbox",
	`DELETE FROM "outbox"`:                                        "DELETE of outbox",
	"DELETE FROM main.results":                                    "DELETE of results",
	"REPLACE INTO results (seq) VALUES (1)":                       "INSERT of results",
	"WITH a AS (SELECT seq FROM lanes) DELETE FROM lanes":         "DELETE of lanes",
	"DELETE FROM pending":                                         "DELETE of pending",
	"UPDATE accounts SET parked = 0":                              "UPDATE of accounts",
	"DELETE FROM audit":                                           "DELETE of audit",
	"DELETE FROM function_tables":                                 "DELETE of function_tables",
	"INSERT INTO sqlite_schema VALUES ('table', 'a', 'a', 0, '')": "INSERT of sqlite_master",
	"INSERT INTO told VALUES ('x')":                               "UPDATE of owner (by tells)",
	"INSERT INTO door VALUES ('x')":                               "DELETE of results (by opens)",
}

var severalStatements = []string{
	"SELECT 1; COMMIT", "SELECT 1;;COMMIT", "SELECT 1; /* */ -- \n COMMIT", "SELECT '''; --'; COMMIT", `SELECT ";" ; COMMIT`, "SELECT 1 AS [;]; COMMIT",
	"SELECT 1 AS `;`; COMMIT", "SELECT 1 /* ' */; COMMIT --'", "SELECT 1 -- '\n; COMMIT --'", "SELECT 1;SELECT 2", "SELECT $a('); COMMIT; --')",
	"SELECT $a(/*); COMMIT; --*/)", "SELECT 1; '", "SELECT 1;\x00COMMIT",
}

var noStatement = []string{"", " ", ";", "--", "/* SELECT 1 */", ";;"}

var allowedStatements = []string{
	"SELECT 1", "select 1;", " \n\tSELECT 1 ; -- end", "/* why */ INSERT INTO notes (text) VALUES (';')", "SELECT ';', \";\", [;], `;` FROM (SELECT 1 AS ';')",
	"SELECT '''; COMMIT'", "WITH a AS (SELECT 1) SELECT * FROM a", "VALUES (1), (2)", "REPLACE INTO notes (text) VALUES ('a')",
	"UPDATE notes SET text = 'x' WHERE id = 7", "DELETE FROM notes WHERE text = 'y'", "SELECT 1 /* open", "; SELECT 1", "SELECT 1;;; -- end",
	"SELECT * FROM owner, outbox, results, lanes, pending, accounts", "SELECT name FROM sqlite_schema", "EXPLAIN SELECT 1",
	"WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3) INSERT INTO notes (text) SELECT i FROM n",
	"INSERT INTO notes (id, text) VALUES (1, 'b') ON CONFLICT (id) DO UPDATE SET text = excluded.text RETURNING id",
}

// A trigger and a view that a function's tables may have, and what they try.
const rightsTables = testTables + `
CREATE TABLE told (text TEXT);
CREATE TRIGGER tells AFTER INSERT ON told BEGIN UPDATE owner SET epoch = epoch + 1; END;
CREATE VIEW door AS SELECT 'x' AS text;
CREATE TRIGGER opens INSTEAD OF INSERT ON door BEGIN DELETE FROM results; END;`

func forEachWithRights(t *testing.T, test func(t *testing.T, d *DB)) {
	t.Helper()
	for _, path := range []string{":memory:", tempFile(t)} {
		o := options(t, path)
		o.Tables = []db.Migration{{Function: "notes", Version: 1, SQL: rightsTables}}
		test(t, open(t, o))
	}
}

// What an effect may not run fails its attempt, also where the effect swallows the error,
// is refused before it runs, and is named in the error.
func TestEffectsMayNot(t *testing.T) {
	forEachWithRights(t, func(t *testing.T, d *DB) {
		wants := map[string]string{}
		maps.Copy(wants, forbidden)
		for _, text := range severalStatements {
			wants[text] = "statement" // more than one, or a NUL character
		}
		for _, text := range noStatement {
			wants[text] = "no statement"
		}
		number := 0
		for text, want := range wants {
			number++
			ev := appendEvent(t, d, event("c", fmt.Sprint(number)))
			var said error
			n, err := d.Settle([]db.Settlement{done(ev, func(tx db.Tx) (any, error) {
				_, said = tx.ExecContext(tx.Context(), text)
				if rows, err := tx.QueryContext(tx.Context(), text); err == nil {
					t.Errorf("Query %q runs", text)
					rows.Close()
				}
				if err := tx.QueryRowContext(tx.Context(), text).Scan(); err == nil {
					t.Errorf("QueryRow %q runs", text)
				}
				return note("swallowed")(tx)
			})})
			if said == nil || !strings.Contains(said.Error(), want) {
				t.Errorf("Exec %q: %v, want %q", text, said, want)
			}
			if n != 0 || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: settled %d, %v, want %q", text, n, err, want)
			}
			settle(t, d, done(ev, nil))
		}
		wantRows(t, d, "SELECT count(*) FROM told", "0")
		wantRows(t, d, "SELECT count(*) FROM notes", "0")
		if err := d.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestEffectsMay(t *testing.T) {
	forEachWithRights(t, func(t *testing.T, d *DB) {
		settle(t, d, done(appendEvent(t, d, event("c", "m")), func(tx db.Tx) (any, error) {
			for _, text := range allowedStatements {
				if _, err := tx.ExecContext(tx.Context(), text); err != nil {
					t.Errorf("Exec %q: %v", text, err)
				}
			}
			return nil, nil
		}))
	})
}

// Every table and view of the engine is protected, in each letter case.
func TestEffectsMayWriteNoEngineTable(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	names := rows(t, d, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT IN ('notes', 'parent')")
	if len(names) < 10 {
		t.Fatalf("only %q", names)
	}
	for i, name := range names {
		ev := appendEvent(t, d, event("c", fmt.Sprint(i)))
		_, err := d.Settle([]db.Settlement{done(ev, func(tx db.Tx) (any, error) {
			return tx.ExecContext(tx.Context(), "DELETE FROM "+strings.ToUpper(name))
		})})
		_, refused := errors.AsType[*conn.ForbiddenError](err)
		if !refused && (err == nil || !strings.Contains(err.Error(), "because it is a view")) {
			t.Errorf("DELETE FROM %s: %v", name, err)
		}
		settle(t, d, done(ev, nil))
	}
}

// FuzzEffectStatement: what an effect may run never ends the transaction (but by the
// rules of ON CONFLICT ROLLBACK), and changes nothing of the engine's.
func FuzzEffectStatement(f *testing.F) {
	for text := range forbidden {
		f.Add(text)
	}
	for _, list := range [][]string{severalStatements, noStatement, allowedStatements} {
		for _, text := range list {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToUpper(text), "RECURSIVE") { // may have no end
			return
		}
		d := open(t, options(t, ":memory:"))
		ev := appendEvent(t, d, event("c", "m"))
		const engine = "SELECT (SELECT group_concat(epoch || name) FROM owner), (SELECT count(*) FROM outbox), (SELECT group_concat(sql) FROM sqlite_schema)"
		before := fmt.Sprint(rows(t, d, engine))
		_, err := d.Settle([]db.Settlement{done(ev, func(tx db.Tx) (any, error) {
			_, err := tx.ExecContext(tx.Context(), text)
			return nil, err
		})})
		if after := fmt.Sprint(rows(t, d, engine)); after != before {
			t.Fatalf("%q changes %s to %s", text, before, after)
		}
		if err != nil && strings.Contains(err.Error(), "ended the transaction") && !orRollback.MatchString(text) {
			t.Fatalf("%q ends the transaction", text)
		}
	})
}
