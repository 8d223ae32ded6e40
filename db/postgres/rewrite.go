package postgres

import (
	"strconv"
	"strings"
)

// rewrite returns a statement with the parameters of PostgreSQL: ?, ?N and :name
// become $N, but in texts and comments. names has the names, each at the place of its parameter.
func rewrite(text string) (native string, names []string) {
	if !strings.ContainsAny(text, "?:;") {
		return text, nil
	}
	var b strings.Builder
	next := 1
	for i := 0; i < len(text); {
		if n := opaque(text[i:]); n > 0 {
			b.WriteString(text[i : i+n])
			i += n
			continue
		}
		switch c := text[i]; {
		case c == '?':
			digits := prefix(text[i+1:], isDigit)
			n := next
			if digits != "" {
				n, _ = strconv.Atoi(digits)
			}
			next = max(next, n+1)
			b.WriteString("$" + strconv.Itoa(n))
			i += 1 + len(digits)
		case c == ':' && strings.HasPrefix(text[i:], "::"):
			b.WriteString("::")
			i += 2
		case c == ':' && prefix(text[i+1:], isWord) != "" && !isDigit(text[i+1]):
			name := prefix(text[i+1:], isWord)
			n := indexOf(names, name) + 1
			if n == 0 {
				for len(names) < next-1 { // those that have no name
					names = append(names, "")
				}
				names = append(names, name)
				n, next = len(names), len(names)+1
			}
			b.WriteString("$" + strconv.Itoa(n))
			i += 1 + len(name)
		case c == ';' && strings.TrimSpace(text[i+1:]) == "":
			i = len(text)
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), names
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// opaque returns the length of the text, the quoted name or the comment that s begins with, 0
// for none.
func opaque(s string) int {
	end := func(from int, mark string) int {
		if n := strings.Index(s[from:], mark); n >= 0 {
			return from + n + len(mark)
		}
		return len(s)
	}
	switch {
	case s[0] == '\'' || s[0] == '"':
		return end(1, s[:1]) // a doubled quote begins the next one
	case (s[0] == 'E' || s[0] == 'e') && len(s) > 1 && s[1] == '\'':
		for i := 2; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '\'':
				return i + 1
			}
		}
		return len(s)
	case strings.HasPrefix(s, "--"):
		return end(2, "\n")
	case strings.HasPrefix(s, "/*"):
		return end(2, "*/")
	case s[0] == '$':
		if tag := prefix(s[1:], isWord); len(tag)+1 < len(s) && s[len(tag)+1] == '$' {
			mark := s[:len(tag)+2]
			return end(len(mark), mark)
		}
	case isWord(s[0]):
		return len(prefix(s, isWord))
	}
	return 0
}

// firstWord returns the first word of a statement, behind blanks, comments and brackets.
func firstWord(s string) string {
	for s != "" {
		switch {
		case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "/*"):
			s = s[opaque(s):]
		case isWord(s[0]):
			return prefix(s, isWord)
		case strings.ContainsRune(" \t\r\n\f(", rune(s[0])):
			s = s[1:]
		default:
			return ""
		}
	}
	return ""
}

func prefix(s string, is func(byte) bool) string {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return s[:n]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
