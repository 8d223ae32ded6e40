package conventions

import (
	"go/ast"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLocksAreListed holds docs/design/locks.md, which has the order of locks, against the
// mutexes of the server.
func TestLocksAreListed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/design/locks.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+\\.go)` ([\\w., ]+?) \\|").FindAllStringSubmatch(string(text), -1) {
		for name := range strings.SplitSeq(m[2], ", ") {
			listed[m[1]+" "+name] = true
		}
	}
	are := map[string]bool{}
	for _, p := range packages(t) {
		top, _, _ := strings.Cut(p.dir, "/")
		if slices.Contains([]string{"bench", "cli", "internal", "proofs"}, top) || p.dir == "db/dbtest" {
			continue
		}
		for _, f := range p.files {
			if !f.test {
				mutexes(f, are)
			}
		}
	}
	for _, lock := range slices.Sorted(maps.Keys(are)) {
		if !listed[lock] {
			t.Errorf("docs/design/locks.md doesn't have %s: add it where it stands in the order", lock)
		}
	}
	for _, lock := range slices.Sorted(maps.Keys(listed)) {
		if !are[lock] {
			t.Errorf("docs/design/locks.md has %s, which is no lock any more", lock)
		}
	}
}

// mutexes adds the fields of a file's types that are locks, as "file Type.field".
func mutexes(f file, to map[string]bool) {
	for _, d := range f.Decls {
		d, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range d.Specs {
			s, ok := s.(*ast.TypeSpec)
			if !ok {
				continue
			}
			st, ok := s.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range st.Fields.List {
				switch types.ExprString(field.Type) {
				case "sync.Mutex", "sync.RWMutex", "sync.Locker":
				default:
					continue
				}
				if len(field.Names) == 0 {
					to[f.path+" "+s.Name.Name+".Mutex"] = true
				}
				for _, n := range field.Names {
					to[f.path+" "+s.Name.Name+"."+n.Name] = true
				}
			}
		}
	}
}
