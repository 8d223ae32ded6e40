package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// place is where something stands in the file, from 1.
type place struct{ line, column int }

// value is any YAML, as compact JSON.
type value json.RawMessage

// decoder fills the fields of a file from its syntax tree.
type decoder struct {
	path     string
	places   map[string]place
	problems []Problem
}

// decode reads text into f. It goes on after a problem, so that all are found at once.
func (d *decoder) decode(text string, f *file) {
	if depth(text) > maxDepth || nestedLine.MatchString(text) {
		d.problems = append(d.problems, Problem{d.path, 1, 1, "", fmt.Sprintf("must not have more than %d lists and objects in each other", maxDepth)})
		return
	}
	tree, err := tree(text)
	if err != nil {
		d.problems = append(d.problems, d.syntax(err))
		return
	}
	docs := 0
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if docs++; docs > 1 {
			d.add(doc.Body, "", "must be one document: take the second --- out")
			return
		}
		d.into(doc.Body, "", reflect.ValueOf(f).Elem(), 0)
	}
}

// tree parses text. A panic of the parser is an error: the text comes from outside.
func tree(text string) (f *ast.File, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("can't be read as YAML")
		}
	}()
	return parser.ParseBytes([]byte(text), 0)
}

// nestedLine is a line that begins a list in a list in a list, and so on.
var nestedLine = regexp.MustCompile(`(?m)^[ \t]*([-?][ \t]+){64}`)

// depth returns how deep brackets stand in each other, at most: the parser calls itself for
// each. Those in texts count, which is no harm.
func depth(text string) (deepest int) {
	now := 0
	for _, c := range []byte(text) {
		switch c {
		case '[', '{':
			now++
			deepest = max(deepest, now)
		case ']', '}':
			now = max(now-1, 0)
		}
	}
	return deepest
}

func (d *decoder) syntax(err error) Problem {
	p := Problem{d.path, 1, 1, "", "can't be read as YAML: " + err.Error()}
	if ye, ok := errors.AsType[yaml.Error](err); ok {
		p.Detail = ye.GetMessage()
		if t := ye.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	return p
}

func (d *decoder) add(n ast.Node, field, format string, args ...any) {
	at := placeOf(n)
	d.problems = append(d.problems, Problem{d.path, at.line, at.column, field, fmt.Sprintf(format, args...)})
}

// placeOf returns where a node begins. The token of an object in lines is its first colon.
func placeOf(n ast.Node) place {
	if members, ok := membersOf(n); ok && len(members) > 0 && n.GetToken().Type == token.MappingValueType {
		n = members[0].Key
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{t.Position.Line, t.Position.Column}
}

// into decodes n, the value of field, into v.
func (d *decoder) into(n ast.Node, field string, v reflect.Value, deep int) {
	if _, ok := d.places[field]; !ok {
		d.places[field] = placeOf(n)
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if what := unusual(n); what != "" {
		d.add(n, field, "must not have %s: write the value in its place", what)
		return
	}
	if v.Type() == reflect.TypeFor[value]() {
		var b bytes.Buffer
		d.json(n, field, &b, deep)
		v.SetBytes(b.Bytes())
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, field, v, deep)
	case reflect.Slice:
		d.list(n, field, v, deep)
	default:
		d.scalar(n, field, v)
	}
}

func (d *decoder) object(n ast.Node, field string, v reflect.Value, deep int) {
	names := make([]string, v.NumField())
	byName := map[string]int{}
	for i := range v.NumField() {
		names[i], _, _ = strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		byName[names[i]] = i
	}
	if n.Type() == ast.NullType && field == "" {
		return
	}
	members, ok := membersOf(n)
	if !ok {
		d.add(n, field, "must be an object with %s", strings.Join(names, ", "))
		return
	}
	for _, m := range members {
		name := keyOf(m)
		i, ok := byName[name]
		inner := join(field, name)
		if !ok {
			d.add(m.Key, join(field, cut(name)), "is not known: there are %s", strings.Join(names, ", "))
			continue
		}
		d.places[inner] = placeOf(m.Key)
		d.into(m.Value, inner, v.Field(i), deep+1)
	}
}

func (d *decoder) list(n ast.Node, field string, v reflect.Value, deep int) {
	if n.Type() == ast.NullType {
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.add(n, field, "must be a list: write a dash before each entry")
		return
	}
	if len(seq.Values) > MaxEntries {
		d.add(n, field, "must have at most %d entries", MaxEntries)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, entry := range seq.Values {
		d.into(entry, fmt.Sprintf("%s[%d]", field, i), v.Index(i), deep+1)
	}
}

func (d *decoder) scalar(n ast.Node, field string, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := textOf(n); ok {
			v.SetString(s)
			return
		}
		d.add(n, field, "must be a text: put it in quotes")
	case reflect.Int:
		if number, ok := n.(*ast.IntegerNode); ok {
			if i, err := strconv.Atoi(number.Token.Value); err == nil {
				v.SetInt(int64(i))
				return
			}
		}
		d.add(n, field, "must be a whole number")
	case reflect.Float64:
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			if f, err := strconv.ParseFloat(n.GetToken().Value, 64); err == nil && !math.IsInf(f, 0) {
				v.SetFloat(f)
				return
			}
		}
		d.add(n, field, "must be a number")
	}
}

// unusual names what makes a node mean something else than it shows, "" for nothing.
func unusual(n ast.Node) string {
	switch n.(type) {
	case *ast.AnchorNode:
		return "an anchor (&)"
	case *ast.AliasNode:
		return "an alias (*)"
	case *ast.TagNode, *ast.DirectiveNode:
		return "a tag (!)"
	case *ast.MergeKeyNode:
		return "a merge (<<)"
	}
	return ""
}

// membersOf returns the members of an object.
func membersOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// keyOf returns the name of a member, as it would be one in JSON.
func keyOf(m *ast.MappingValueNode) string {
	if s, ok := textOf(m.Key); ok {
		return s
	}
	return m.Key.GetToken().Value
}

func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// cut bounds a text of the file in a message about it.
func cut(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
