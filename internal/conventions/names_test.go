package conventions

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// symbols are the names of the module that a text can mean.
type symbols struct {
	packages map[string]map[string]bool            // by package name: what it declares, over all folders of that name
	members  map[string]map[string]map[string]bool // by folder and type: fields and methods; "" if some are embedded
	tests    map[string]bool                       // every function that go test runs
	files    map[string]bool                       // every file, by each end of its path
	words    map[string]bool                       // every identifier and every word in a string
}

// testFunction matches the name of a function that `go test` runs.
var testFunction = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]`)

func readSymbols(t *testing.T) *symbols {
	t.Helper()
	s := &symbols{map[string]map[string]bool{}, map[string]map[string]map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, p := range packages(t) {
		s.members[p.dir] = map[string]map[string]bool{}
		for _, f := range p.files {
			s.declare(p, f)
		}
	}
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (p == ".git" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		for end, more := p, true; more; _, end, more = strings.Cut(end, "/") {
			s.files[end] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// declare takes in the declarations of a file.
func (s *symbols) declare(p pkg, f file) {
	name := strings.TrimSuffix(f.Name.Name, "_test")
	if name == "main" {
		name = path.Base(p.dir)
	}
	if s.packages[name] == nil {
		s.packages[name] = map[string]bool{}
	}
	add := func(typ, member string) {
		if s.members[p.dir][typ] == nil {
			s.members[p.dir][typ] = map[string]bool{}
		}
		s.members[p.dir][typ][member] = true
		s.packages[name][typ+"."+member] = true
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			s.words[n.Name] = true
		case *ast.BasicLit:
			for _, w := range camel.FindAllString(n.Value, -1) {
				s.words[w] = true
			}
		}
		return true
	})
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				add(receiver(d), d.Name.Name)
				continue
			}
			s.packages[name][d.Name.Name] = true
			if testFunction.MatchString(d.Name.Name) {
				s.tests[d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				for _, n := range specNames(spec) {
					s.packages[name][n] = true
				}
				if spec, ok := spec.(*ast.TypeSpec); ok {
					for _, m := range fields(spec.Type) {
						add(spec.Name.Name, m)
					}
				}
			}
		}
	}
}

// fields returns the names in a struct or an interface, with "" for what is embedded.
func fields(t ast.Expr) (names []string) {
	var list *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return []string{""} // it may have what another type has
	}
	for _, f := range list.List {
		if len(f.Names) == 0 {
			names = append(names, "")
		}
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) (name string) {
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return name
}

var (
	dotted   = regexp.MustCompile(`\b([A-Za-z]\w*)\.([A-Za-z]\w*)(?:\.([A-Za-z]\w*))?`)
	camel    = regexp.MustCompile(`\b[A-Za-z]+[a-z0-9][A-Z]\w*`)
	testWord = regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z]\w+`)
	address  = regexp.MustCompile(`https?://\S+`)
	fileWord = regexp.MustCompile(`(?:[\w.-]+/)*\w[\w-]*\.(?:go|md|sql)\b`)
	notGo    = regexp.MustCompile(`^(json|svg|txt|ya?ml|lua|pem|db|com)$`) // what stands behind a dot in a file's or a host's name
	docLink  = regexp.MustCompile(`\[\*?([A-Z]\w*[a-z]\w*)(?:\.([A-Z]\w*))?\]`)
)

// TestNamesInComments resolves the names that comments have of the module's things: a
// package's or a type's with a dot, doc links, tests and files.
func TestNamesInComments(t *testing.T) {
	s := readSymbols(t)
	for _, p := range packages(t) {
		for _, f := range p.files {
			if f.generated {
				continue
			}
			others := foreign(f)
			for _, c := range f.Comments {
				text := c.Text()
				for _, m := range dotted.FindAllStringSubmatch(text, -1) {
					if !s.resolves(p.dir, others, m[1], m[2], m[3]) {
						t.Errorf("%s: there is no %s", p.fset.Position(c.Pos()), m[0])
					}
				}
				for _, m := range docLink.FindAllStringSubmatch(text, -1) {
					own := s.packages[strings.TrimSuffix(f.Name.Name, "_test")]
					if !own[m[1]] || m[2] != "" && !s.members[p.dir][m[1]][m[2]] && !s.members[p.dir][m[1]][""] {
						t.Errorf("%s: there is no %s", p.fset.Position(c.Pos()), m[0])
					}
				}
				for _, name := range s.missing(text) {
					t.Errorf("%s: there is no %s", p.fset.Position(c.Pos()), name)
				}
			}
		}
	}
}

// proper are names with capitals inside that are none of the code's.
var proper = map[string]bool{
	"ClientHello": true, "FailNow": true, "FreeBSD": true, "JetStream": true, "OpenResty": true, "PostgreSQL": true, "RabbitMQ": true,
	"StatefulSet": true, "TypeScript": true, "W3C": true, "WebSockets": true, "macOS": true, "pcache1TruncateUnsafe": true,
}

// missing returns the tests, files and identifiers that a text names and that are not there.
func (s *symbols) missing(text string) (names []string) {
	text = address.ReplaceAllString(text, "")
	for _, name := range testWord.FindAllString(text, -1) {
		if !s.tests[name] {
			names = append(names, name)
		}
	}
	for _, name := range fileWord.FindAllString(text, -1) {
		if !s.files[strings.TrimLeft(name, "./")] {
			names = append(names, name)
		}
	}
	for _, at := range camel.FindAllStringIndex(text, -1) {
		name := text[at[0]:at[1]]
		elsewhere := at[0] > 0 && text[at[0]-1] == '.' // another package's; the module's are resolved by their dots
		if !s.words[name] && !elsewhere && !proper[name] {
			names = append(names, name)
		}
	}
	return names
}

// foreign returns the names of packages that a file imports from elsewhere.
func foreign(f file) map[string]bool {
	names := map[string]bool{}
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		if p != "inturn" && !strings.HasPrefix(p, "inturn/") {
			names[path.Base(p)] = true
		}
	}
	return names
}

// resolves reports whether a.b, or a.b.c, exists if a is a package of the module or a type
// of the package in dir. Anything else with a dot is none of the module's names.
func (s *symbols) resolves(dir string, others map[string]bool, a, b, c string) bool {
	if members, ok := s.members[dir][a]; ok && !others[a] {
		return members[b] || members[""] || s.packages[a] != nil || s.files[a+"."+b] || notGo.MatchString(b)
	}
	names, ok := s.packages[a]
	if !ok || others[a] || !token.IsExported(b) {
		return true
	}
	return names[b] && (c == "" || names[b+"."+c] || names[b+"."])
}

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fence  = regexp.MustCompile("(?ms)^```.*?^```$")
)

// TestNamesInDocuments resolves what documents name: links, tests, files, and in backquotes
// the names of packages and types with a dot.
func TestNamesInDocuments(t *testing.T) {
	s := readSymbols(t)
	for _, file := range documents(t) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		prose := fence.ReplaceAllString(string(text), "")
		for _, m := range link.FindAllStringSubmatch(prose, -1) {
			to, _, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") || to == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, path.Dir(file), to)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", file, m[1])
			}
		}
		for _, m := range quoted.FindAllStringSubmatch(prose, -1) {
			for _, m := range dotted.FindAllStringSubmatch(m[1], -1) {
				if !s.resolves("", nil, m[1], m[2], m[3]) {
					t.Errorf("%s: there is no %s", file, m[0])
				}
			}
		}
		for _, name := range s.missing(prose) {
			t.Errorf("%s: there is no %s", file, name)
		}
	}
}

// documents returns the Markdown files of the module, but for the changelog, which names
// what there was, and figures.
func documents(t *testing.T) (list []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		switch base := path.Base(p); {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "figures" || base == "data" || base == "node_modules"):
			return fs.SkipDir
		case path.Ext(p) == ".md" && p != "CHANGELOG.md":
			list = append(list, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
