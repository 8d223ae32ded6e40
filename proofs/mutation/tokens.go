package main

import (
	"bytes"
	"sort"
)

// lexeme is a word or a single sign of a source, from start to end. Space and comments
// are none, so two texts with the same lexemes differ in layout and comments only.
type lexeme struct{ start, end int }

// tokens cuts src, which is SQL or else Go. The inside of a string is cut as well, which
// finds a line of SQL in a Go constant however it is indented.
func tokens(src []byte, sql bool) (list []lexeme) {
	var quote byte // what ends the string that i is in
	for i := 0; i < len(src); {
		n := 1
		switch c := src[i]; {
		case c <= ' ':
			i++
			continue
		case quote == 0 && commentEnd(src[i:], sql) > 0:
			i += commentEnd(src[i:], sql)
			continue
		case wordByte(c):
			for i+n < len(src) && wordByte(src[i+n]) {
				n++
			}
		case quote == 0 && (c == '"' || c == '\'' || c == '`' && !sql):
			quote = c
		case c == '\\' && quote != 0 && quote != '`' && !sql:
			n = min(2, len(src)-i)
		case c == quote:
			quote = 0
		}
		list = append(list, lexeme{i, i + n})
		i += n
	}
	return list
}

// commentEnd returns the length of the comment that src begins with, or 0.
func commentEnd(src []byte, sql bool) int {
	until := func(end string) int {
		if n := bytes.Index(src[2:], []byte(end)); n >= 0 {
			return n + 2
		}
		return len(src)
	}
	switch {
	case bytes.HasPrefix(src, []byte("//")) && !sql, bytes.HasPrefix(src, []byte("--")) && sql:
		return until("\n")
	case bytes.HasPrefix(src, []byte("/*")):
		return min(until("*/")+2, len(src))
	}
	return 0
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// source is a file with its tokens.
type source struct {
	text []byte
	toks []lexeme
}

// between returns the first and the last+1 of the tokens in text[start:end].
func (s *source) between(start, end int) (from, to int) {
	from = sort.Search(len(s.toks), func(i int) bool { return s.toks[i].start >= start })
	to = sort.Search(len(s.toks), func(i int) bool { return s.toks[i].end > end })
	return from, to
}

// find returns where the tokens of pattern stand among those from from to to.
func (s *source) find(pattern [][]byte, from, to int) (at []int) {
	for i := from; i+len(pattern) <= to; i++ {
		n := 0
		for n < len(pattern) && bytes.Equal(s.text[s.toks[i+n].start:s.toks[i+n].end], pattern[n]) {
			n++
		}
		if n == len(pattern) {
			at = append(at, i)
		}
	}
	return at
}

// leads reports whether token i is the first of its line.
func (s *source) leads(i int) bool {
	return i == 0 || bytes.IndexByte(s.text[s.toks[i-1].end:s.toks[i].start], '\n') >= 0
}

// ends reports whether token i is the last of its line.
func (s *source) ends(i int) bool { return i+1 >= len(s.toks) || s.leads(i+1) }

// lineStart and lineEnd return where the line of an offset begins and where the next does.
func (s *source) lineStart(at int) int { return bytes.LastIndexByte(s.text[:at], '\n') + 1 }

func (s *source) lineEnd(at int) int {
	if n := bytes.IndexByte(s.text[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(s.text)
}
