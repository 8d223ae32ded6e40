package sqlite

import (
	"context"
	"database/sql"
	"regexp"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

var orRollback = regexp.MustCompile(`(?i)or\s+rollback`)

var refusedStatements = []string{
	"", " ", ";", "--", "/* SELECT 1 */", "BEGIN", "COMMIT", "end", "ROLLBACK", "SAVEPOINT a", "RELEASE op", "ROLLBACK TO op",
	"PRAGMA user_version = 9", "ATTACH ':memory:' AS a", "DETACH a", "VACUUM", "CREATE TABLE a (b)", "DROP TABLE notes",
	"EXPLAIN SELECT 1", "ANALYZE", "REINDEX", "/* a */ COMMIT", "-- SELECT\nCOMMIT", "\xef\xbb\xbfSELECT 1", ";COMMIT", "; SELECT 1",
	"SELECT 1; COMMIT", "SELECT 1;;COMMIT", "SELECT 1; /* */ -- \n COMMIT", "SELECT 1;\x00COMMIT", "SELECT '''; --'; COMMIT",
	`SELECT ";" ; COMMIT`, "SELECT [;]; COMMIT", "SELECT `;`; COMMIT", "SELECT 1 /* ' */; COMMIT --'", "SELECT 1 -- '\n; COMMIT --'",
	"SELECT $a('); COMMIT; --')", "SELECT :a('); COMMIT; --')", "SELECT @a(\"); COMMIT; --\")", "SELECT $a::b([); COMMIT; --])", "SELECT #a('); COMMIT; --')",
	"SELECT $a(/*); COMMIT; --*/)", "SELECT 1;SELECT 2", "(SELECT 1)",
}

var acceptedStatements = []string{
	"SELECT 1", "select 1;", " \n\tSELECT 1 ; -- end", "/* why */ INSERT INTO notes (text) VALUES (';')", "SELECT ';', \";\", [;], `;`",
	"SELECT '''; COMMIT'", "WITH a AS (SELECT 1) SELECT * FROM a", "VALUES (1), (2)", "REPLACE INTO notes (text) VALUES ('a')",
	"UPDATE notes SET text = :text WHERE id = ?1", "DELETE FROM notes WHERE text = $text", "SELECT 1 /* open", "INSERT OR ROLLBACK INTO notes VALUES (1, 'a', NULL)",
	"SELECT a$b FROM (SELECT 1 AS a$b)",
}

func TestCheckStatement(t *testing.T) {
	for _, text := range refusedStatements {
		if err := conn.CheckStatement(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	for _, text := range acceptedStatements {
		if err := conn.CheckStatement(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestRefusedStatements: what is refused has not run, and leaves the Tx as it was.
func TestRefusedStatements(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		settle(t, d, done(appendEvent(t, d, event("c", "m")), func(tx db.Tx) (any, error) {
			for _, text := range refusedStatements {
				if _, err := tx.ExecContext(tx.Context(), text); err == nil {
					t.Errorf("Exec %q runs", text)
				}
				rows, err := tx.QueryContext(tx.Context(), text)
				if err == nil {
					t.Errorf("Query %q runs", text)
					rows.Close()
				}
				if err := tx.QueryRowContext(tx.Context(), text).Scan(); err == nil {
					t.Errorf("QueryRow %q runs", text)
				}
			}
			return note("one")(tx)
		}))
		wantRows(t, d, noteRows, "one")
	})
}

// FuzzCheckStatement asks SQLite itself: what is accepted never ends a transaction
// (but by the rules of ON CONFLICT ROLLBACK), and nothing of it is kept outside one.
func FuzzCheckStatement(f *testing.F) {
	for _, text := range append(refusedStatements, acceptedStatements...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if conn.CheckStatement(text) != nil || strings.Contains(strings.ToUpper(text), "RECURSIVE") {
			return
		}
		pool, err := sql.Open("sqlite", conn.MemoryDSN())
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		one, err := pool.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		run(t, one, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, parent)", "BEGIN", "INSERT INTO notes VALUES (100, 'mine', 1)")
		c, err := conn.New(one, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if rows, err := one.QueryContext(context.Background(), text); err == nil {
			for range 100 {
				if !rows.Next() {
					break
				}
			}
			rows.Close()
		}
		if !c.InTransaction() && !orRollback.MatchString(text) {
			t.Fatalf("%q is accepted and ends the transaction", text)
		}
	})
}
