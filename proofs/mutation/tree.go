package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// tree is the source of the module, as far as mutations change or name it.
type tree struct {
	root  string
	files map[string]*source // by path below root, with slashes
	decls []decl
	tests map[string][]string // the folders that have a test of that name
}

// decl is a function, method, type, constant or variable at the top of a file.
type decl struct {
	file       string
	recv, name string
	start, end int // without what is said before it
}

func (d decl) String() string {
	if d.recv != "" {
		return d.file + ": " + d.recv + "." + d.name
	}
	return d.file + ": " + d.name
}

// skipped reports whether a folder has no source of the module.
func skipped(p string) bool {
	base := path.Base(p)
	return p != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" || p == "data" || p == "tools")
}

// readTree reads every Go and SQL file below root.
func readTree(root string) (*tree, error) {
	t := &tree{root: root, files: map[string]*source{}, tests: map[string][]string{}}
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		switch ext := path.Ext(p); {
		case err != nil:
			return err
		case d.IsDir() && skipped(p):
			return fs.SkipDir
		case d.Type().IsRegular() && (ext == ".go" || ext == ".sql"):
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p)))
			if err != nil {
				return err
			}
			return t.add(p, text)
		}
		return nil
	})
	return t, err
}

// add takes a file in.
func (t *tree) add(file string, text []byte) error {
	sql := path.Ext(file) == ".sql"
	t.files[file] = &source{text: text, toks: tokens(text, sql)}
	if sql {
		return nil
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	test := strings.HasSuffix(file, "_test.go")
	add := func(recv, name string, n ast.Node) {
		t.decls = append(t.decls, decl{file, recv, name, fset.Position(n.Pos()).Offset, fset.Position(n.End()).Offset})
		if dir := path.Dir(file); test && recv == "" && testName.MatchString(name) && !slices.Contains(t.tests[name], dir) {
			t.tests[name] = append(t.tests[name], dir)
		}
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			add(receiver(d), d.Name.Name, d)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				var n ast.Node = s
				if !d.Lparen.IsValid() {
					n = d
				}
				switch s := s.(type) {
				case *ast.TypeSpec:
					add("", s.Name.Name, n)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						add("", name.Name, n)
					}
				}
			}
		}
	}
	return nil
}

// receiver returns the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// named returns the declarations that an edit may mean: those of its full name or, where
// there are none, of its name alone, since a receiver's type is renamed more often.
func (t *tree) named(e edit) (list []decl) {
	if e.file {
		if src, ok := t.files[e.name]; ok { // its whole path
			return []decl{{file: e.name, name: e.name, end: len(src.text)}}
		}
		for file, src := range t.files {
			if path.Base(file) == e.name {
				list = append(list, decl{file: file, name: e.name, end: len(src.text)})
			}
		}
		return list
	}
	for _, exact := range []bool{true, false} {
		for _, d := range t.decls {
			if d.name == e.name && (d.recv == e.recv || !exact) && !strings.HasSuffix(d.file, "_test.go") {
				list = append(list, d)
			}
		}
		if len(list) > 0 {
			break
		}
	}
	return list
}

// testDir returns the folder of the package that has the test, below root.
func (t *tree) testDir(c testCall) (string, error) {
	top, _, _ := strings.Cut(c.pattern, "/")
	re, err := regexp.Compile(top)
	if err != nil {
		return "", err
	}
	var dirs []string
	for name, in := range t.tests {
		if re.MatchString(name) {
			dirs = append(dirs, in...)
		}
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	if len(dirs) > 1 && c.hint != "" {
		dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !hinted(dir, c.hint) })
	}
	switch len(dirs) {
	case 0:
		return "", fmt.Errorf("no package has a test that %s matches", c.pattern)
	case 1:
		return dirs[0], nil
	}
	return "", fmt.Errorf("tests of several packages match %s (%s): name a folder before it", c.pattern, strings.Join(dirs, ", "))
}

// hinted reports whether hint is a part of a path, from one slash to another.
func hinted(p, hint string) bool {
	return strings.Contains("/"+p+"/", "/"+strings.Trim(hint, "/")+"/")
}
