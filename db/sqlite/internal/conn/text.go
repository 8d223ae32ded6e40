package conn

import (
	"errors"
	"fmt"
	"strings"
)

// CheckStatement lets an effect run one statement that reads or writes rows, and
// nothing that could end or change the transaction it stands in.
func CheckStatement(sql string) error {
	first, rest := nextToken(sql)
	switch strings.ToUpper(first) {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES":
	case "":
		return errors.New("an effect's statement is empty")
	default:
		return fmt.Errorf("an effect may not run %.20s: only SELECT, INSERT, UPDATE, DELETE, REPLACE, WITH and VALUES", strings.ToUpper(first))
	}
	for rest != "" {
		var tok string
		tok, rest = nextToken(rest)
		if tok == ";" {
			if more, _ := nextToken(rest); more != "" {
				return errors.New("an effect may run one statement at a time")
			}
		}
	}
	return nil
}

// nextToken splits off the first token as far as CheckStatement needs it: a word,
// a quoted thing, or a single other byte. Blanks and comments are skipped
// (https://www.sqlite.org/lang_comment.html); at the end the token is "".
func nextToken(s string) (token, rest string) {
	for s != "" {
		switch {
		case strings.IndexByte(blanks, s[0]) >= 0:
			s = s[1:]
		case strings.HasPrefix(s, "--"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "/*"):
			_, s, _ = strings.Cut(s[2:], "*/")
		default:
			n := tokenLen(s)
			return s[:n], s[n:]
		}
	}
	return "", ""
}

const blanks = " \t\r\n\f\v"

func tokenLen(s string) int {
	switch c := s[0]; {
	case c == '\'' || c == '"' || c == '`':
		// A doubled quote inside just begins the next token, which ends where the
		// whole one would.
		if i := strings.IndexByte(s[1:], c); i >= 0 {
			return i + 2
		}
		return len(s)
	case c == '$' || c == '@' || c == ':' || c == '#':
		return variableLen(s)
	case c == '[':
		if i := strings.IndexByte(s, ']'); i >= 0 {
			return i + 1
		}
		return len(s)
	case isWord(c):
		n := 1
		for n < len(s) && isWord(s[n]) {
			n++
		}
		return n
	}
	return 1
}

// variableLen follows SQLite's tokenizer, where a variable may end in "(anything
// but blanks)": what stands there is not SQL, even if it looks like a quote.
func variableLen(s string) int {
	n := 1
	for names := 0; n < len(s); {
		switch {
		case isWord(s[n]):
			n++
			names++
		case strings.HasPrefix(s[n:], "::"):
			n += 2
		case s[n] == '(' && names > 0:
			for n++; n < len(s) && s[n] != ')' && strings.IndexByte(blanks, s[n]) < 0; n++ {
			}
			return min(n+1, len(s))
		default:
			return n
		}
	}
	return n
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
