// Package conventions holds the tests of how code and documents are written: that a
// comment can be read alone, and that a name in a text is the name of something.
package conventions

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unclear are words of a comment that needs another one beside it to be understood.
var unclear = regexp.MustCompile(`(?i)\b(who|whom|whoever|whomever|them|(does|do) too|(is|are|be) told)\b`)

// TestDocComments checks every doc comment outside tests and generated code: it begins
// with the name of what it documents, as godoc wants it, and can be read alone.
func TestDocComments(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.files {
			if f.test || f.generated {
				continue
			}
			for _, s := range complaints(p, f) {
				t.Error(s)
			}
		}
	}
}

// complaints returns what is wrong with the comments of a file.
func complaints(p pkg, f file) (list []string) {
	check := func(c *ast.CommentGroup, names ...string) {
		if c == nil {
			return
		}
		text := c.Text()
		at := func(format string, args ...any) {
			list = append(list, fmt.Sprintf("%s: %s", p.fset.Position(c.Pos()), fmt.Sprintf(format, args...)))
		}
		if m := unclear.FindString(text); m != "" {
			at("%q: say which, so that the comment can be read alone", m)
		}
		if len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return begins(text, name) }) {
			at("a comment begins with the name of what it documents: %s", names[0])
		}
	}
	check(f.Doc)
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			check(d.Doc, d.Name.Name)
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				continue
			}
			if !d.Lparen.IsValid() && len(d.Specs) == 1 {
				check(d.Doc, specNames(d.Specs[0])...)
			} else {
				check(d.Doc)
			}
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					check(s.Doc, s.Name.Name)
				case *ast.ValueSpec:
					check(s.Doc)
					check(s.Comment)
				}
			}
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.InterfaceType:
					for _, m := range n.Methods.List {
						if len(m.Names) > 0 {
							check(m.Doc, m.Names[0].Name)
						}
					}
				case *ast.Field:
					check(n.Doc)
					check(n.Comment)
				}
				return true
			})
		}
	}
	return list
}

func specNames(s ast.Spec) (names []string) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		return []string{s.Name.Name}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

// begins reports whether a comment begins with name, after an article perhaps.
func begins(text, name string) bool {
	for _, article := range []string{"", "A ", "An ", "The "} {
		if rest, ok := strings.CutPrefix(text, article+name); ok && (rest == "" || !wordByte(rest[0])) {
			return true
		}
	}
	return strings.HasPrefix(text, "Deprecated: ")
}

func wordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
