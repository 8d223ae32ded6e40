package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mendImports drops the imports that only before used, and adds those of extra that only
// after uses: a statement may move to a file with others.
func mendImports(before, after []byte, extra []string) ([]byte, error) {
	fset := token.NewFileSet()
	old, err := parser.ParseFile(fset, "", before, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	now, err := parser.ParseFile(fset, "", after, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	was, is := used(old), used(now)
	var list []patch
	var have []string
	for _, s := range now.Imports {
		name := importName(s)
		have = append(have, name)
		if was[name] && !is[name] {
			start := fset.Position(s.Pos()).Offset
			list = append(list, patch{start, start, "_ "})
			if s.Name != nil {
				list[len(list)-1] = patch{start, fset.Position(s.Name.End()).Offset, "_"}
			}
		}
	}
	for _, p := range extra {
		if name := baseName(p); is[name] && !slices.Contains(have, name) {
			list = append(list, addImport(fset, now, p))
		}
	}
	return replace(after, list)
}

// addImport puts an import into the first list of f, or behind the package clause.
func addImport(fset *token.FileSet, f *ast.File, p string) patch {
	at, text := f.Name.End(), "\n\nimport "+strconv.Quote(p)+"\n"
	for _, d := range f.Decls {
		if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.IMPORT && d.Lparen.IsValid() {
			at, text = d.Lparen+1, "\n\t"+strconv.Quote(p)
			break
		}
	}
	offset := fset.Position(at).Offset
	return patch{offset, offset, text}
}

// used returns the names that a file puts before a dot.
func used(f *ast.File) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				names[x.Name] = true
			}
		}
		return true
	})
	return names
}

func importName(s *ast.ImportSpec) string {
	if s.Name != nil {
		return s.Name.Name
	}
	p, err := strconv.Unquote(s.Path.Value)
	if err != nil {
		return ""
	}
	return baseName(p)
}

var version = regexp.MustCompile(`^v[0-9]+$`)

// baseName guesses a package's name by its import path.
func baseName(p string) string {
	base := path.Base(p)
	if version.MatchString(base) {
		base = path.Base(path.Dir(p))
	}
	base, _, _ = strings.Cut(base, ".")
	return base[strings.LastIndexByte(base, '-')+1:]
}
