package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var errReadOnly = &Hint{
	Err:  errors.New("query: only reading is allowed"),
	Hint: "one SELECT, WITH … SELECT, VALUES or EXPLAIN; tables are listed by SELECT * FROM sqlite_schema",
}

// otherVerbs begin the statements that don't only read
// (https://sqlite.org/lang.html). A word that begins none is SQLite's to refuse.
var otherVerbs = []string{
	"ALTER", "ANALYZE", "ATTACH", "BEGIN", "COMMIT", "CREATE", "DELETE", "DETACH", "DROP", "END", "INSERT",
	"PRAGMA", "REINDEX", "RELEASE", "REPLACE", "ROLLBACK", "SAVEPOINT", "UPDATE", "VACUUM",
}

// checkStatement refuses what is not one reading statement. It is there for clear
// messages, and for VACUUM INTO, which reads the database but writes a file; that
// nothing is written to the database is seen to by the read-only handle.
func checkStatement(sql string) error {
	// SQLite would stop reading at a NUL.
	if strings.ContainsRune(sql, 0) {
		return errors.New("query: the statement contains a NUL character")
	}
	rest := skipEmpty(sql)
	if rest == "" {
		return &Hint{Err: errors.New("query: there is no statement"), Hint: "try: inturn query 'SELECT * FROM events LIMIT 10'"}
	}
	word := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"))]
	if slices.Contains(otherVerbs, strings.ToUpper(word)) {
		return errReadOnly
	}
	for rest != "" {
		if rest[0] == ';' {
			if after := skipEmpty(rest); after != "" {
				return &Hint{
					Err:  fmt.Errorf("query: more than one statement: %q follows the first", cut(after, 40)),
					Hint: "run one statement at a time",
				}
			}
			return nil
		}
		rest = rest[tokenLength(rest):]
	}
	return nil
}

// tokenLength returns how many bytes to pass over so that no string, quoted name or
// comment is ended in its middle (https://sqlite.org/lang_expr.html,
// https://sqlite.org/lang_comment.html). A doubled quote reads as two strings that
// touch, which comes to the same. What is not closed goes to the end.
func tokenLength(s string) int {
	var end string
	switch c := s[0]; {
	case c == '\'' || c == '"' || c == '`':
		end = s[:1]
	case c == '[':
		end = "]"
	case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "/*"):
		return len(s) - len(skipComment(s))
	default:
		return 1
	}
	if i := strings.Index(s[1:], end); i >= 0 {
		return 1 + i + 1
	}
	return len(s)
}

// skipEmpty passes over white space, comments and semicolons.
func skipEmpty(s string) string {
	for {
		s = strings.TrimLeft(s, "; \t\r\n\f")
		if !strings.HasPrefix(s, "--") && !strings.HasPrefix(s, "/*") {
			return s
		}
		s = skipComment(s)
	}
}

// skipComment passes over the comment that s begins with.
func skipComment(s string) string {
	end := "\n"
	if strings.HasPrefix(s, "/*") {
		end = "*/"
	}
	if i := strings.Index(s[2:], end); i >= 0 {
		return s[2+i+len(end):]
	}
	return ""
}
