package conn

import (
	"database/sql"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const tables = `
CREATE TABLE lanes (client_id TEXT NOT NULL, turn INTEGER NOT NULL, seq INTEGER NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (client_id, turn)) STRICT, WITHOUT ROWID;
CREATE TABLE results (seq INTEGER PRIMARY KEY, status TEXT NOT NULL CHECK (status IN ('done', 'dead'))) STRICT;
CREATE TABLE outbox (seq INTEGER PRIMARY KEY, client_id TEXT NOT NULL) STRICT;`

// An error is the driver's to the letter, and the statement goes on afterwards.
func TestStmtErrors(t *testing.T) {
	c := open(t, MemoryDSN())
	exec(t, c, tables)
	for _, one := range []struct {
		text   string
		values []Value
		args   []any
	}{
		{"INSERT INTO lanes VALUES (?, ?, 1, 1)", []Value{Text("a"), Int(1)}, []any{"a", 1}},
		{"INSERT INTO results (seq, status) VALUES (?, ?)", []Value{Int(1), Text("odd")}, []any{1, "odd"}},
		{"INSERT INTO outbox (seq, client_id) VALUES (?, ?)", []Value{Text("no number"), {kind: 5}}, []any{"no number", nil}},
		{"COMMIT", nil, nil},
	} {
		s, err := c.Prepare(one.text)
		if err != nil {
			t.Fatal(err)
		}
		s.Exec(one.values...) // of lanes the first is good
		for range 2 {
			_, err = s.Exec(one.values...)
			_, driver := c.SQL.ExecContext(background, one.text, one.args...)
			if err == nil || driver == nil || err.Error() != driver.Error() || code(err) != code(driver) {
				t.Errorf("%s: %v (%d), the driver says %v (%d)", one.text, err, code(err), driver, code(driver))
			}
		}
		if one.text[0] == 'I' && strings.Contains(one.text, "lanes") {
			if n, err := s.Exec(Text("b"), Int(1)); n != 1 || err != nil {
				t.Errorf("after an error: %d, %v", n, err)
			}
		}
		s.Close()
	}
	if s, err := c.Prepare("INSERT INTO nowhere VALUES (1)"); err == nil || !strings.Contains(err.Error(), "no such table") {
		s.Close()
		t.Errorf("no such table: %v", err)
	}
}

// What goes in comes out, whatever its length and its bytes, also when long texts
// follow short ones: their memory is used again.
func TestStmtValues(t *testing.T) {
	c := open(t, MemoryDSN())
	exec(t, c, "CREATE TABLE kept (a TEXT, n INTEGER, b TEXT) STRICT")
	s, err := c.Prepare("INSERT INTO kept VALUES (?, ?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	long := strings.Repeat("0123456789\x00ä", 20_000)
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.String().Draw(t, "a")
		n := rapid.Int64().Draw(t, "n")
		b := sql.NullString{String: long[:rapid.IntRange(0, len(long)).Draw(t, "length of b")], Valid: rapid.Bool().Draw(t, "valid")}
		if !b.Valid {
			b.String = ""
		}
		if changed, err := s.Exec(Text(a), Int(n), Nullable(b)); changed != 1 || err != nil {
			t.Fatal(changed, err)
		}
		var gotA string
		var gotN int64
		var gotB sql.NullString
		if err := c.SQL.QueryRowContext(background, "DELETE FROM kept RETURNING a, n, b").Scan(&gotA, &gotN, &gotB); err != nil {
			t.Fatal(err)
		}
		if gotA != a || gotN != n || gotB != b {
			t.Fatalf("%q %d, %d bytes (%v) came out of %q %d, %d bytes (%v)", gotA, gotN, len(gotB.String), gotB.Valid, a, n, len(b.String), b.Valid)
		}
		if len(c.texts) > keptTexts && len(a)+len(b.String) <= keptTexts {
			t.Fatalf("%d bytes are kept", len(c.texts))
		}
	})
}

// An empty text is not NULL, also where it is the first of the connection.
func TestStmtEmptyText(t *testing.T) {
	c := open(t, MemoryDSN())
	exec(t, c, "CREATE TABLE kept (a TEXT NOT NULL)")
	s, err := c.Prepare("INSERT INTO kept VALUES (?)")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Exec(Text("")); n != 1 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
}
