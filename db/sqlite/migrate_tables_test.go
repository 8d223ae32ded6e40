package sqlite

import (
	"strings"
	"testing"

	"inturn/db"
)

// A function's foreign key on a table of the engine is refused by the version that brings it,
// whatever its form.
func TestForeignKeysOnTheEngine(t *testing.T) {
	const own = `CREATE TABLE f (id INTEGER PRIMARY KEY, seq INTEGER) STRICT; CREATE TABLE g (f INTEGER REFERENCES f (id)) STRICT;`
	for name, sql := range map[string]string{
		"a column":        own + `CREATE TABLE h (seq INTEGER REFERENCES outbox (seq)) STRICT`,
		"a table":         own + `CREATE TABLE h (a TEXT, b TEXT, FOREIGN KEY (b, a) REFERENCES outbox (message_id, client_id)) STRICT`,
		"another case":    own + `CREATE TABLE h (seq INTEGER REFERENCES OutBox (seq)) STRICT`,
		"results":         own + `CREATE TABLE h (seq INTEGER REFERENCES results) STRICT`,
		"an added column": own + `ALTER TABLE f ADD COLUMN of INTEGER REFERENCES accounts (client_id)`,
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, tempFile(t))
			o.Tables = append(o.Tables, db.Migration{Function: "f", Version: 1, SQL: sql})
			d, err := Open(t.Context(), o)
			if err == nil {
				t.Fatalf("opened, and closed with %v", d.Close())
			}
			if !strings.Contains(err.Error(), "REFERENCES") || !strings.Contains(err.Error(), "tables of f, version 1") {
				t.Errorf("opened with %v", err)
			}
			o.Tables[len(o.Tables)-1].SQL = own
			open(t, o)
		})
	}
}
