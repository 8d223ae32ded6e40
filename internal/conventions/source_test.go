package conventions

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
)

// root is where the module begins, seen from this package.
const root = "../.."

// pkg is a folder with Go files of the module.
type pkg struct {
	dir   string // below root, with slashes
	fset  *token.FileSet
	files []file
}

type file struct {
	*ast.File
	path      string // below root
	test      bool
	generated bool
}

// packages returns every package of the module, parsed once.
func packages(t *testing.T) []pkg {
	t.Helper()
	list, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var parsed = sync.OnceValues(func() ([]pkg, error) {
	byDir := map[string]*pkg{}
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := path.Base(p)
			if p != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "data" || base == "node_modules" || otherModule(p)) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		dir := path.Dir(p)
		if byDir[dir] == nil {
			byDir[dir] = &pkg{dir: dir, fset: token.NewFileSet()}
		}
		in := byDir[dir]
		text, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(in.fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		in.files = append(in.files, file{parsed, p, strings.HasSuffix(p, "_test.go"), ast.IsGenerated(parsed)})
		return nil
	})
	var list []pkg
	for _, p := range byDir {
		list = append(list, *p)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].dir < list[b].dir })
	return list, err
})

// otherModule reports whether a folder has a go.mod of its own.
func otherModule(dir string) bool {
	_, err := os.Stat(filepath.Join(root, dir, "go.mod"))
	return err == nil
}
