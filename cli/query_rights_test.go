package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestQueryReadsOnly: what a statement does decides, and not how its text begins.
func TestQueryReadsOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newFile(t, path)
	run := func(statement string) error {
		out, _, _ := newIO()
		return Query{SQL: statement, DB: path}.Run(t.Context(), out, Postgres{})
	}
	for _, good := range []string{
		"SELECT 1", "select 1;", "SELECT 1 ; ; \n", "  -- why\n/* not; */ SELECT 1 -- end; really",
		"WITH a AS (SELECT 1) SELECT * FROM a", "VALUES (1)", "EXPLAIN QUERY PLAN SELECT 1",
		"SELECT ';'", "SELECT 'it''s;'", "SELECT 1 /* ; SELECT 2 */", "SELECT 1; -- DELETE FROM outbox", "SELECT 1 /* open ; ",
		"SELECT*FROM outbox", "; SELECT 1", "SELECT * FROM pragma_table_info('outbox')",
	} {
		if err := run(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                                 "no statement",
		" ;; -- nothing":                   "no statement",
		"/* only":                          "no statement",
		"SELECT 1; SELECT 2":               "more than one",
		"SELECT 1 AS [a]; SELECT 2":        "more than one",
		"SELECT ''';'; DELETE FROM outbox": "more than one",
		"SELECT 1 -- ;\n; DROP TABLE t":    "more than one",
		"DELETE FROM outbox":               "only reading",
		"WITH a AS (SELECT 1) DELETE FROM outbox": "only reading",
		"VACUUM INTO 'copy.db'":                   "only reading",
		"EXPLAIN DELETE FROM outbox":              "only reading",
		"ATTACH 'x' AS y":                         "only reading",
		"PRAGMA query_only=0":                     "only reading",
		"BEGIN":                                   "only reading",
		"SELECT 1\x00; DELETE FROM outbox":        "NUL",
		"SELEC 1":                                 "syntax error",
		"insert into t values (1)":                "no such table",
	} {
		if err := run(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}
