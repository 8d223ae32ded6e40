package main

import (
	"go/format"
	"path"
	"slices"
	"strings"
	"testing"
)

// treeOf returns a tree of these files, in pairs of name and text.
func treeOf(t *testing.T, files ...string) *tree {
	t.Helper()
	tr := &tree{files: map[string]*source{}, tests: map[string][]string{}}
	for i := 0; i < len(files); i += 2 {
		if err := tr.add(files[i], []byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// headers are what a mutation needs before its edits.
const headers = "# promise: 1\n# test: ^TestX$\n# something breaks\n"

func parsed(t *testing.T, edits string) mutation {
	t.Helper()
	m, err := parseMutation("some-mutation", headers+edits)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const writerFile = `package db

import (
	"errors"
	"fmt"
)

// limit bounds a group.
const (
	limit = 10 // events
	another = 20
)

const query = ` + "`SELECT seq FROM lanes\n\t\tWHERE client_id = ? ORDER BY turn`" + `

type writer struct {
	seq int64
}

func (w *writer) commit() error {
	if w.seq < 0 {
		return errors.New("negative") // never
	}
	// the fence
	if err := w.check(w.seq, "a, b"); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

func (w *writer) check(seq int64, s string) error { return nil }
`

const readerFile = `package db

type reader struct{}

func (r *reader) commit() error {
	return nil
}

func (r *reader) close() error {
	return nil
}
`

func TestEditFindsItsPlace(t *testing.T) {
	for name, c := range map[string]struct{ edits, gone, come string }{
		"statement replaced":       {"@@ writer.commit\n-\tif w.seq < 0 {\n+\tif w.seq < 0 && false {\n", "if w.seq < 0 {", "if w.seq < 0 && false {"},
		"layout doesn't count":     {"@@ writer.commit\n-if   w.seq<0{\n+\tif false {\n", "if w.seq < 0 {", "\tif false {"},
		"comments don't count":     {"@@ writer.commit\n \t}\n-\tif err := w.check(w.seq, \"a, b\"); err != nil {\n+\tif err := error(nil); err != nil {\n", "w.check(w.seq", "err := error(nil)"},
		"a part of a line":         {"@@ writer.commit\n-w.seq < 0\n+false\n", "w.seq < 0", "if false {"},
		"several lines go":         {"@@ writer.commit\n-if w.seq < 0 {\n-\treturn errors.New(\"negative\")\n-}\n", "negative", "// the fence"},
		"a line comes behind":      {"@@ writer.commit\n return errors.New(\"negative\")\n+// added\n", "", "// never\n\t\t// added"},
		"a line comes in one line": {"@@ writer.check\n {\n+w.seq++\n", "", "w.seq++\n"},
		"constant of a list":       {"@@ limit\n-limit = 10\n+limit = 1000\n", "= 10 ", "limit   = 1000"},
		"query":                    {"@@ query\n-ORDER BY turn`\n+ORDER BY turn DESC`\n", "turn`", "turn DESC`"},
		"query over lines":         {"@@ query\n-FROM lanes WHERE client_id = ?\n+FROM lanes WHERE 1\n", "client_id", "SELECT seq FROM lanes WHERE 1 ORDER"},
		"field":                    {"@@ writer\n seq int64\n+told bool\n", "", "told bool"},
		"function added":           {"@@ after writer.check\n+func (w *writer) more() {}\n", "", "func (w *writer) more() {}"},
		"constant added":           {"@@ after limit\n+more = 30\n", "", "more    = 30"},
		"receiver renamed":         {"@@ committer.check\n-return nil\n+return errors.ErrUnsupported\n", "{ return nil }", "errors.ErrUnsupported"},
		"two edits":                {"@@ limit\n-10\n+11\n@@ another\n-20\n+21\n", "20", "21"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := treeOf(t, "db/writer.go", writerFile, "db/reader.go", readerFile)
			done, err := tr.apply(parsed(t, c.edits))
			if err != nil {
				t.Fatal(err)
			}
			if len(done.files) != 1 {
				t.Fatalf("%d files are changed", len(done.files))
			}
			text, err := format.Source(done.files["db/writer.go"])
			if err != nil {
				t.Fatal(err)
			}
			if c.gone != "" && strings.Contains(string(text), c.gone) || !strings.Contains(string(text), c.come) {
				t.Errorf("want no %q and %q in\n%s", c.gone, c.come, text)
			}
		})
	}
}

// A mutation without a place, or with two, must not do anything else than say so.
func TestEditWithoutOnePlace(t *testing.T) {
	for name, c := range map[string]struct {
		edits string
		says  []string
	}{
		"no declaration":         {"@@ writer.gone\n-\treturn nil\n+\treturn errGone\n", []string{"some-mutation", "writer.gone", "no such declaration"}},
		"no statement":           {"@@ writer.commit\n-\treturn errGone\n+\treturn nil\n", []string{"some-mutation", "writer.commit", "`return errGone`"}},
		"statement elsewhere":    {"@@ writer.check\n-\tif w.seq < 0 {\n+\tif false {\n", []string{"writer.check", "it stands in db/writer.go: writer.commit"}},
		"declaration elsewhere":  {"@@ gone\n-\tif w.seq < 0 {\n+\tif false {\n", []string{"it stands in db/writer.go: writer.commit"}},
		"statement twice":        {"@@ writer.commit\n-\terr\n+\tnil\n", []string{"writer.commit", "places have `err`"}},
		"method of two types":    {"@@ committer.commit\n-\treturn nil\n+\treturn errGone\n", []string{"2 places", "writer.commit", "reader.commit"}},
		"two edits of one place": {"@@ limit\n-10\n+11\n@@ limit\n-10\n+12\n", []string{"some-mutation", "same lines"}},
		"what comes is no Go":    {"@@ limit\n-10\n+(\n", []string{"some-mutation", "db/writer.go"}},
		"added behind two":       {"@@ after commit\n+func more() {}\n", []string{"2 places"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := treeOf(t, "db/writer.go", writerFile, "db/reader.go", readerFile)
			_, err := tr.apply(parsed(t, c.edits))
			if err == nil {
				t.Fatal("it was applied")
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q doesn't say %q", err, s)
				}
			}
		})
	}
}

func TestHintChooses(t *testing.T) {
	tr := treeOf(t, "db/sqlite/a.go", "package sqlite\n\nfunc open() { first() }\n", "db/postgres/a.go", "package postgres\n\nfunc open() { first() }\n")
	done, err := tr.apply(parsed(t, "@@ open in db/sqlite\n-first\n+second\n"))
	if err != nil {
		t.Fatal(err)
	}
	if done.places[0].file != "db/sqlite/a.go" {
		t.Error(done.places)
	}
}

func TestFileThatIsNotGo(t *testing.T) {
	tr := treeOf(t, "sql/schema.sql", "CREATE TABLE a (\n  x INTEGER, -- it's x\n  y TEXT\n);\n")
	done, err := tr.apply(parsed(t, "@@ file schema.sql\n x INTEGER,\n-y TEXT\n+y BLOB\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want, got := "CREATE TABLE a (\n  x INTEGER, -- it's x\ny BLOB\n);\n", string(done.files["sql/schema.sql"]); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Where a statement was the last that used an import, or the first that needs one, the
// file compiles all the same.
func TestImportsFollow(t *testing.T) {
	m := parsed(t, "@@ writer.commit\n-\t\treturn errors.New(\"negative\")\n+\t\tslices.Sort([]int{})\n")
	m.imports = []string{"slices", "strings"}
	done, err := treeOf(t, "db/writer.go", writerFile).apply(m)
	if err != nil {
		t.Fatal(err)
	}
	text := string(done.files["db/writer.go"])
	for s, want := range map[string]bool{`_ "errors"`: true, `"slices"`: true, `"strings"`: false, `_ "fmt"`: false} {
		if strings.Contains(text, s) != want {
			t.Errorf("%s: want %v in\n%s", s, want, text)
		}
	}
}

func TestTestIsFoundByName(t *testing.T) {
	tr := treeOf(t, "db/a_test.go", "package db\n\nfunc TestX() {}\nfunc TestTwice() {}\nfunc TestLong() {}\n",
		"runner/a_test.go", "package runner\n\nfunc TestY() {}\nfunc TestTwice() {}\nfunc helper() {}\n")
	for test, want := range map[string]string{
		"^TestX$": "db", "^TestX$/sub -rounds 12": "db", "CI=1 ./wrong ^TestY$": "runner", "^(TestX|TestLong)$": "db", "^TestLon": "db",
		"db ^TestTwice$": "db", "./runner ^TestTwice$": "runner", "^TestTwice$": "", "^TestGone$": "", "^(TestX|TestY)$": "",
	} {
		c, err := parseTest(test)
		if err != nil {
			t.Fatal(test, err)
		}
		if got, err := tr.testDir(c); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: in %q (%v), want %q", test, got, err, want)
		}
	}
}

func TestMutationThatSaysTooLittle(t *testing.T) {
	for text, says := range map[string]string{
		"# test: ^TestX$\n# breaks\n@@ a\n-b\n":     "# promise",
		"# promise: 1\n# breaks\n@@ a\n-b\n":        "# test",
		"# promise: 1\n# test: ./db\n":              "names no test",
		"# promise: 1\n# test: ^TestX$\n@@ a\n-b\n": "what it breaks",
		headers:                        "no edits",
		headers + "@@ a\n b\n":         "nothing goes or comes",
		headers + "@@ a\n+b\n":         "it has no place",
		headers + "@@ a\n\n-// only\n": "it has no place",
		headers + "@@ after a\n-b\n":   "only lines of +",
		headers + "@@ behind a\n-b\n":  "want @@",
		headers + "@@ a b c\n-b\n":     "want @@",
		headers + "@@ a\n-b\n*c\n":     ":6:",
		"promise: 1\n":                 "begins with",
	} {
		if _, err := parseMutation("m", text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func TestShardsAreAPartition(t *testing.T) {
	var jobs, got []job
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		jobs = append(jobs, job{mutation: mutation{name: name}})
	}
	for k := 1; k <= 3; k++ {
		got = append(got, part(jobs, k, 3)...)
	}
	if len(got) != len(jobs) {
		t.Fatalf("%d of %d jobs are in a part", len(got), len(jobs))
	}
	for _, j := range jobs {
		if !slices.ContainsFunc(got, func(g job) bool { return g.name == j.name }) {
			t.Errorf("%s is in no part", j.name)
		}
	}
	for _, s := range []string{"", "0/2", "3/2", "x", "1"} {
		if _, _, err := parseShard(s); err == nil {
			t.Errorf("--shard %q is taken", s)
		}
	}
}

func TestChangesTouch(t *testing.T) {
	tr := treeOf(t, "db/writer.go", writerFile, "db/a_test.go", "package db\n\nfunc TestX() {\n\tx()\n}\n")
	line := func(s string) int { return 1 + strings.Count(writerFile[:strings.Index(writerFile, s)], "\n") }
	m := parsed(t, "@@ writer.commit\n-\tif w.seq < 0 {\n+\tif false {\n")
	jobs, err := prepare(tr, []mutation{m})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		c    changes
		want bool
	}{
		"nothing":        {changes{}, false},
		"its function":   {changes{"db/writer.go": {{line("// the fence"), line("// the fence")}}}, true},
		"the whole file": {changes{"db/writer.go": {{1, 1000}}}, true},
		"before it":      {changes{"db/writer.go": {{1, line("func (w *writer) commit") - 1}}}, false},
		"behind it":      {changes{"db/writer.go": {{line("func (w *writer) check"), 1000}}}, false},
		"another file":   {changes{"db/other.go": {{1, 1000}}}, false},
		"its test":       {changes{"db/a_test.go": {{4, 4}}}, true},
		"itself":         {changes{path.Join("proofs/mutations", m.name+".mutation"): {{1, 1}}}, true},
	} {
		if got := c.c.touch(tr, jobs[0]); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestDiffIsRead(t *testing.T) {
	got := parseDiff("diff --git a/x.go b/x.go\n--- x.go\n+++ y.go\n@@ -1,0 +2,3 @@ func f() {\n+a\n+++ b.go\n+@@ -1 +1 @@\n@@ -9 +12 @@\n-z\n+y\n@@ -20,2 +22,0 @@\n-a\n-b\n--- z.go\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n")
	want := []lines{{2, 4}, {12, 12}, {22, 23}}
	if !slices.Equal(got["y.go"], want) || len(got["b.go"]) > 0 {
		t.Errorf("got %v, want %v", got, want)
	}
}
