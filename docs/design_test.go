package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each promise has tests, and the tests that the design names are there, in the
// package that is named before them; so are the files that it links to.
func TestTheDesignNamesWhatIsThere(t *testing.T) {
	files, err := filepath.Glob("design/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("docs/design: %d files, %v", len(files), err)
	}
	word := regexp.MustCompile("`([a-z/]+)`|Test[A-Z]\\w*|\\]\\(([^)]+)\\)")
	for _, file := range append(files, "../DESIGN.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pkg, tests := "", ""
		for _, m := range word.FindAllStringSubmatch(string(text), -1) {
			switch name, link := m[0], m[2]; {
			case link != "":
				if _, err := os.Stat(filepath.Join(filepath.Dir(file), link)); err != nil && !strings.Contains(link, "://") {
					t.Errorf("%s: %v", file, err)
				}
			case m[1] != "":
				if of := testsOf(t, m[1]); of != "" {
					pkg, tests = m[1], of
				}
			case !strings.Contains(tests, "\nfunc "+name+"("):
				t.Errorf("%s: there is no %s in %q", file, name, pkg)
			}
		}
	}
	text, err := os.ReadFile("../DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	for promise := 1; promise <= 9; promise++ {
		if row := regexp.MustCompile(fmt.Sprintf("(?m)^\\| %d \\| .*Test[A-Z]", promise)); !row.Match(text) {
			t.Errorf("DESIGN.md names no test of promise %d", promise)
		}
	}
}

// testsOf returns what is in a folder's test files, "" if it has none.
func testsOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
