package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// json writes n as compact JSON. Numbers keep their digits; what JSON has no word for is a
// problem.
func (d *decoder) json(n ast.Node, field string, b *bytes.Buffer, deep int) {
	if what := unusual(n); what != "" {
		d.add(n, field, "must not have %s: write the value in its place", what)
		return
	}
	if deep > maxDepth || b.Len() > MaxPayload {
		d.add(n, field, "is too much: a payload may have %d bytes, and %d lists and objects in each other", MaxPayload, maxDepth)
		return
	}
	if members, ok := membersOf(n); ok {
		d.jsonObject(members, field, b, deep)
		return
	}
	// Numbers beyond what the parser has a type for are texts without quotes to it.
	if t := n.GetToken(); t.Type == token.StringType && number(t.Value) {
		b.WriteString(t.Value)
		return
	}
	if text, ok := textOf(n); ok {
		d.jsonText(n, field, text, b)
		return
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		b.WriteByte('[')
		for i, entry := range n.Values {
			if i > 0 {
				b.WriteByte(',')
			}
			d.json(entry, fmt.Sprintf("%s[%d]", field, i), b, deep+1)
		}
		b.WriteByte(']')
	case *ast.NullNode:
		b.WriteString("null")
	case *ast.BoolNode:
		fmt.Fprint(b, n.Value)
	case *ast.IntegerNode, *ast.FloatNode:
		if text := n.GetToken().Value; number(text) {
			b.WriteString(text)
			return
		}
		d.add(n, field, "must be a number as JSON has it, or a text in quotes")
	default:
		d.add(n, field, "must be what JSON has: an object, a list, a text in quotes, a number, true, false or null")
	}
}

// number reports whether a text is a number as JSON has it.
func number(s string) bool {
	return s != "" && strings.Trim(s, "0123456789+-.eE") == "" && json.Valid([]byte(s))
}

func (d *decoder) jsonObject(members []*ast.MappingValueNode, field string, b *bytes.Buffer, deep int) {
	b.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		name := keyOf(m)
		if what := unusual(m.Key); what != "" {
			d.add(m.Key, field, "must not have %s: write the value in its place", what)
		}
		d.jsonText(m.Key, field, name, b)
		b.WriteByte(':')
		d.json(m.Value, join(field, cut(name)), b, deep+1)
	}
	b.WriteByte('}')
}

func (d *decoder) jsonText(n ast.Node, field, text string, b *bytes.Buffer) {
	if !utf8.ValidString(text) {
		d.add(n, field, "must be UTF-8")
		return
	}
	var quoted strings.Builder
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		d.add(n, field, "must be a text: %v", err)
		return
	}
	b.WriteString(strings.TrimSuffix(quoted.String(), "\n"))
}
