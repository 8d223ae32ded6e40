package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
)

// patch replaces text[start:end] of a file.
type patch struct {
	start, end int
	with       string
}

// mutated is what a mutation makes of the tree.
type mutated struct {
	files  map[string][]byte // the whole new text of each changed file
	places []decl            // where its edits are, in their order
}

// apply makes the edits of m. Each must find one place: none or two are errors that name
// mutation, declaration and statement.
func (t *tree) apply(m mutation) (mutated, error) {
	out := mutated{files: map[string][]byte{}}
	patches := map[string][]patch{}
	for _, e := range m.edits {
		d, list, err := t.locate(e)
		if err != nil {
			return out, fmt.Errorf("%s: @@ %s: %w", m.name, e.place, err)
		}
		out.places = append(out.places, d)
		patches[d.file] = append(patches[d.file], list...)
	}
	for file, list := range patches {
		text, err := replace(t.files[file].text, list)
		if err == nil && path.Ext(file) == ".go" {
			text, err = mendImports(t.files[file].text, text, m.imports)
		}
		if err == nil && path.Ext(file) == ".go" {
			_, err = parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
		}
		if err != nil {
			return out, fmt.Errorf("%s: %s: %w", m.name, file, err)
		}
		out.files[file] = text
	}
	return out, nil
}

// replace makes all patches at once.
func replace(text []byte, list []patch) ([]byte, error) {
	slices.SortStableFunc(list, func(a, b patch) int { return a.start - b.start })
	var out bytes.Buffer
	at := 0
	for _, p := range list {
		if p.start < at {
			return nil, errors.New("two edits change the same lines: make them one")
		}
		out.Write(text[at:p.start])
		out.WriteString(p.with)
		at = p.end
	}
	out.Write(text[at:])
	return out.Bytes(), nil
}

// locate finds the place of an edit and what is replaced there.
func (t *tree) locate(e edit) (decl, []patch, error) {
	decls := t.named(e)
	if len(decls) == 0 {
		return decl{}, nil, errors.New("there is no such declaration" + t.elsewhere(e))
	}
	type hit struct {
		d  decl
		at int
	}
	var hits []hit
	pattern := e.pattern()
	for _, d := range decls {
		if e.after {
			hits = append(hits, hit{d, 0})
			continue
		}
		src := t.files[d.file]
		from, to := src.between(d.start, d.end)
		for _, at := range src.find(pattern, from, to) {
			hits = append(hits, hit{d, at})
		}
	}
	if len(hits) > 1 && e.hint != "" {
		hits = slices.DeleteFunc(hits, func(h hit) bool { return !hinted(h.d.file, e.hint) })
	}
	switch {
	case len(hits) == 0:
		return decl{}, nil, fmt.Errorf("it does not contain %s%s", e.statement(), t.elsewhere(e))
	case len(hits) > 1:
		var where []string
		for _, h := range hits {
			where = append(where, h.d.String())
		}
		return decl{}, nil, fmt.Errorf("%d places have %s (%s): add lines around it, or `in FOLDER` to @@", len(hits), e.statement(), strings.Join(where, ", "))
	}
	d, src := hits[0].d, t.files[hits[0].d.file]
	if e.after {
		end := src.lineEnd(d.end)
		return d, []patch{{end, end, "\n" + e.added(e.lines)}}, nil
	}
	return d, e.patches(src, hits[0].at), nil
}

// elsewhere says where in the tree the statement of e stands now, as a help.
func (t *tree) elsewhere(e edit) string {
	pattern := e.pattern()
	if len(pattern) < 3 {
		return ""
	}
	var where []string
	for _, d := range t.decls {
		src := t.files[d.file]
		from, to := src.between(d.start, d.end)
		if !strings.HasSuffix(d.file, "_test.go") && len(src.find(pattern, from, to)) > 0 {
			where = append(where, d.String())
		}
	}
	if len(where) == 0 || len(where) > 3 {
		return ""
	}
	return "; it stands in " + strings.Join(where, ", ")
}

// before returns what an edit looks for: the lines that stay or go, with the index of
// the first token of each line behind the last of the line before it.
func (e edit) before() (text []byte, toks []lexeme, first []int) {
	var at []int
	for _, l := range e.lines {
		at = append(at, len(text))
		if l.op != '+' {
			text = append(append(text, l.text...), '\n')
		}
	}
	toks = tokens(text, e.sql())
	for _, offset := range append(at, len(text)) {
		n, _ := slices.BinarySearchFunc(toks, offset, func(t lexeme, offset int) int { return t.start - offset })
		first = append(first, n)
	}
	return text, toks, first
}

func (e edit) sql() bool { return e.file && path.Ext(e.name) == ".sql" }

// pattern returns the tokens that an edit looks for.
func (e edit) pattern() (list [][]byte) {
	text, toks, _ := e.before()
	for _, t := range toks {
		list = append(list, text[t.start:t.end])
	}
	return list
}

// statement shows what an edit looks for in a line.
func (e edit) statement() string {
	text, _, _ := e.before()
	s := strings.Join(strings.Fields(string(text)), " ")
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return "`" + s + "`"
}

// added returns the lines that come.
func (e edit) added(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		if l.op == '+' {
			b.WriteString(l.text + "\n")
		}
	}
	return b.String()
}

// patches returns what is replaced if the first token of the pattern is token at of src.
// What stays is left as src has it, with its layout and comments.
func (e edit) patches(src *source, at int) (list []patch) {
	_, _, first := e.before()
	for i := 0; i < len(e.lines); i++ {
		if e.lines[i].op == ' ' {
			continue
		}
		j := i
		for j < len(e.lines) && e.lines[j].op != ' ' {
			j++
		}
		list = append(list, src.change(at+first[i], at+first[j], e.added(e.lines[i:j])))
		i = j
	}
	return list
}

// change replaces the tokens from a to b with text, by whole lines if it can.
func (s *source) change(a, b int, text string) patch {
	switch {
	case a < b && s.leads(a) && s.ends(b-1):
		return patch{s.lineStart(s.toks[a].start), s.lineEnd(s.toks[b-1].end), text}
	case a < b && !strings.Contains(text, "//"): // which would make a comment of the rest of the line
		return patch{s.toks[a].start, s.toks[b-1].end, strings.TrimSuffix(text, "\n")}
	case a < b:
		return patch{s.toks[a].start, s.toks[b-1].end, text}
	case a > 0 && s.ends(a-1):
		end := s.lineEnd(s.toks[a-1].end)
		return patch{end, end, text}
	case a > 0:
		return patch{s.toks[a-1].end, s.toks[a-1].end, "\n" + text}
	}
	return patch{0, 0, text}
}
