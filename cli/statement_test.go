package cli

import (
	"strings"
	"testing"
)

func TestCheckStatement(t *testing.T) {
	for _, good := range []string{
		"SELECT 1", "select 1;", "SELECT 1 ; ; \n", "  -- why\n/* not; */ SELECT 1 -- end; really",
		"WITH a AS (SELECT 1) SELECT * FROM a", "VALUES (1)", "EXPLAIN QUERY PLAN SELECT 1",
		"SELECT ';'", "SELECT 'it''s;'", `SELECT ";" FROM [a;b], ` + "`c;d`", "SELECT 1 /* ; SELECT 2 */",
		"SELECT 1; -- DELETE FROM outbox", "SELECT 1; /* x */ ; -- y", "SELECT 1 /* open ; ", "SELECT*FROM t", "SELECT'x;'", "SELECT 1 - 2 / 3",
		"SELECTED", "(SELECT 1)", ".tables", // no statements at all, which SQLite says better
	} {
		if err := checkStatement(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                                 "no statement",
		" ;; -- nothing":                   "no statement",
		"/* only":                          "no statement",
		"SELECT 1; SELECT 2":               "more than one",
		"SELECT [a]; SELECT 2":             "more than one",
		`SELECT "a"; SELECT 2`:             "more than one",
		"SELECT `a`; SELECT 2":             "more than one",
		"SELECT /* */ 1; SELECT 2":         "more than one",
		"SELECT 1;-- x\nSELECT 2":          "more than one",
		"SELECT ''';'; DELETE FROM outbox": "more than one",
		"SELECT 1; /* x */ ; SELECT 2":     "more than one",
		"SELECT 1 -- ;\n; DROP TABLE t":    "more than one",
		"DELETE FROM outbox":               "only reading",
		"insert into t values (1)":         "only reading",
		"VACUUM INTO 'copy.db'":            "only reading",
		"ATTACH 'x' AS y":                  "only reading",
		"PRAGMA query_only=0":              "only reading",
		"BEGIN":                            "only reading",
		"SELECT 1\x00; DELETE FROM outbox": "NUL",
	} {
		if err := checkStatement(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

// No text makes it panic or run for ever.
func FuzzCheckStatement(f *testing.F) {
	for _, s := range []string{"SELECT 1;", "--", "/*", "/*/", "'", "[", "SELECT '", ";", "SELECT \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { _ = checkStatement(s) })
}
