package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// moduleOf writes a module into a new folder. Copies of it are made in another one.
func moduleOf(t *testing.T, files map[string]string) string {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestVerdicts runs mutations of a small module, each of which comes to another end.
func TestVerdicts(t *testing.T) {
	root := moduleOf(t, map[string]string{
		"go.mod": "module example\n\ngo 1.26\n",
		"a/a.go": "package a\n\nfunc add(x, y int) int {\n\treturn x + y\n}\n",
		"a/b.go": "package a\n\nvar _ = other()\n\nfunc other() int { return 1 }\n",
		"a/a_test.go": `package a

import "testing"

func TestAdd(t *testing.T) {
	if add(2, 2) != 4 {
		t.Error("2 + 2 is not 4")
	}
}

func TestSkipped(t *testing.T) { t.Skip() }

func TestFails(t *testing.T) { t.Fail() }
`,
		"data/inturn.db": "not copied",
		".git/config":    "not copied",
	})
	tr, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	r := runner{ctx: t.Context(), tree: tr, passes: map[string]string{}}
	if r.copy, err = copyTree(root); err != nil {
		t.Fatal(err)
	}
	defer r.copy.close()
	for _, name := range []string{"data", ".git"} {
		if _, err := os.Stat(filepath.Join(r.copy.dir, name)); err == nil {
			t.Errorf("%s is copied", name)
		}
	}
	for _, c := range []struct{ test, edits, want string }{
		{"^TestAdd$", "@@ add\n-x + y\n+x - y\n", caught},
		{"^TestAdd$", "@@ add\n-x + y\n+x * y\n", survived},
		{"^TestAdd$", "@@ add\n-x + y\n+x + z\n", noCompile},
		{"^TestSkipped$", "@@ add\n-x + y\n+x - y\n", testFails},
		{"^TestFails$", "@@ add\n-x + y\n+x - y\n", testFails},
		{"^TestAdd$", "@@ add\n-x + y\n+x - y - 1\n", caught},
		{"^TestAdd$", "@@ other\n-1\n+2\n", survived}, // the file that was mutated before is as it was
	} {
		m, err := parseMutation("some-mutation", "# promise: 1\n# test: "+c.test+"\n# breaks\n"+c.edits)
		if err != nil {
			t.Fatal(err)
		}
		jobs, err := prepare(tr, []mutation{m})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.one(jobs[0]); got != c.want || err != nil {
			t.Errorf("%s %q: %s (%v), want %s", c.test, c.edits, got, err, c.want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(root, "a/a.go")); err != nil || string(text) != string(tr.files["a/a.go"].text) {
		t.Errorf("the tree itself was changed: %v", err)
	}
}

// TestTimeIsUp: what there is no time for is neither caught nor a failure.
func TestTimeIsUp(t *testing.T) {
	root := moduleOf(t, map[string]string{
		"go.mod":      "module example\n\ngo 1.26\n",
		"a/a.go":      "package a\n\nfunc add(x, y int) int { return x + y }\n",
		"a/a_test.go": "package a\n\nimport (\n\t\"testing\"\n\t\"time\"\n)\n\nfunc TestLong(t *testing.T) {\n\ttime.Sleep(time.Hour)\n\tadd(1, 1)\n}\n",
	})
	tr, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMutation("some-mutation", "# promise: 1\n# test: ^TestLong$\n# breaks\n@@ add\n-x + y\n+x - y\n")
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := prepare(tr, []mutation{m, m})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r := runner{ctx: t.Context(), tree: tr, until: begin.Add(2 * time.Second)}
	if ok, err := r.all(jobs); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("it ends after %v", took)
	}
}

// TestCopiesAreApart: two runs at once have a folder each, and a later one has the same
// again.
func TestCopiesAreApart(t *testing.T) {
	root := moduleOf(t, map[string]string{"go.mod": "module example\n"})
	first, err := copyTree(root)
	if err != nil {
		t.Fatal(err)
	}
	second, err := copyTree(root)
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]bool{first.dir: true, second.dir: true}
	first.close()
	third, err := copyTree(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) != 2 || third.dir != first.dir {
		t.Errorf("%v, then %s", slices.Sorted(maps.Keys(dirs)), third.dir)
	}
	third.close()
	second.close()
}
