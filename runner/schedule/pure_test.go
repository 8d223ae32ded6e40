package schedule

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// The package has no goroutine, channel, lock, I/O or clock: what it decides depends on
// its arguments alone.
func TestIsPure(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed++
		for _, i := range f.Imports {
			if may := []string{`"container/heap"`, `"fmt"`, `"github.com/hashicorp/golang-lru/v2/simplelru"`, `"inturn/db"`, `"maps"`, `"math"`, `"slices"`, `"time"`}; !slices.Contains(may, i.Path.Value) {
				t.Errorf("%s imports %s", e.Name(), i.Path.Value)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt, *ast.SendStmt, *ast.FuncType:
				if fn, is := n.(*ast.FuncType); !is || takesFunc(fn) {
					t.Errorf("%s: a %T", files.Position(n.Pos()), n)
				}
			case *ast.SelectorExpr:
				if p, is := n.X.(*ast.Ident); is && p.Name == "time" && !slices.Contains([]string{"Time", "Duration", "Millisecond"}, n.Sel.Name) {
					t.Errorf("%s: time.%s", files.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
	if parsed < 5 {
		t.Errorf("%d files were read", parsed)
	}
}

// takesFunc reports whether one of a function's parameters is a function or an interface
// with methods, by which it could call its user back.
func takesFunc(fn *ast.FuncType) bool {
	return slices.ContainsFunc(fn.Params.List, func(p *ast.Field) bool {
		_, is := p.Type.(*ast.FuncType)
		return is
	})
}
