package sqlite

import (
	"fmt"
	"strings"
	"testing"

	"inturn/db"
)

// Virtual tables that a function may have: an index with rows of its own, and one of a
// table that the function is to keep in step.
const virtualTables = testTables + `
CREATE VIRTUAL TABLE words USING fts5(text);
CREATE VIRTUAL TABLE noted USING fts5(text, content='notes', content_rowid='id');`

// What a virtual table finds wrong with its own rows, in a statement or at COMMIT, is the
// effect's error: the database file is sound, and other events are settled.
func TestAVirtualTableOutOfStep(t *testing.T) {
	o := options(t, tempFile(t))
	o.Tables = []db.Migration{{Function: "notes", Version: 1, SQL: virtualTables}}
	d := open(t, o)
	settle(t, d, done(appendEvent(t, d, event("a", "1")), executes(
		"INSERT INTO notes (text) VALUES ('not in the index')",
		"UPDATE words_data SET block = x'0000000001' WHERE id = 10",
	)))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{
		"in the statement": "INSERT INTO noted (noted, rank) VALUES ('integrity-check', 1)",
		"at COMMIT":        "INSERT INTO words VALUES ('x')",
	} {
		t.Run(where, func(t *testing.T) {
			d := open(t, o)
			broken, sound := appendEvent(t, d, event("b", where)), appendEvent(t, d, event("c", where))
			var said error
			n, err := d.Settle([]db.Settlement{done(broken, func(tx db.Tx) (any, error) {
				_, said = tx.ExecContext(tx.Context(), text)
				return nil, said
			})})
			if n != 0 || err == nil || !strings.Contains(err.Error(), "(267)") || (said == nil) != (where == "at COMMIT") {
				t.Errorf("settled %d, %v; the statement: %v", n, err, said)
			}
			settle(t, d, done(sound, note(where)))
			settle(t, d, done(broken, nil))
			if err := d.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func executes(statements ...string) db.Effect {
	return func(tx db.Tx) (any, error) {
		for _, text := range statements {
			if _, err := tx.ExecContext(tx.Context(), text); err != nil {
				return nil, fmt.Errorf("%s: %w", text, err)
			}
		}
		return nil, nil
	}
}

// An effect writes the virtual tables of functions, and their AUTOINCREMENT counts.
func TestEffectsMayWriteVirtualTables(t *testing.T) {
	o := options(t, tempFile(t))
	o.Tables = []db.Migration{{Function: "notes", Version: 1, SQL: virtualTables + `
		CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT);
		CREATE VIRTUAL TABLE boxes USING rtree(id, low, high);`}}
	d := open(t, o)
	settle(t, d, done(appendEvent(t, d, event("a", "1")), executes(
		"INSERT INTO words VALUES ('hello world'), ('other')", "INSERT INTO words (words) VALUES ('optimize')", "DELETE FROM words WHERE words MATCH 'other'",
		"INSERT INTO numbered (text) VALUES ('a'), ('b')", "DELETE FROM numbered", "INSERT INTO numbered (text) VALUES ('c')",
		"INSERT INTO boxes VALUES (1, 2, 3)", "UPDATE boxes SET high = 4",
	)))
	wantRows(t, d, "SELECT text FROM words", "hello world")
	wantRows(t, d, "SELECT id || text FROM numbered", "3c")
	wantRows(t, d, "SELECT high FROM boxes", "4")
	for _, text := range []string{"SELECT text FROM words('hello')", "SELECT count(*) FROM boxes"} {
		if _, err := d.Query(t.Context(), text, 10); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
