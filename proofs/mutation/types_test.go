package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTypesAreChecked(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example\n\ngo 1.26\n",
		"a.go":   "package a\n\nimport \"errors\"\n\nfunc f() error {\n\tn := g()\n\tif n > 0 {\n\t\treturn errors.New(\"a\")\n\t}\n\treturn nil\n}\n",
		"b.go":   "package a\n\nimport \"fmt\"\n\nfunc g() int { fmt.Println(); return 1 }\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newTypeChecker(root)
	if err != nil {
		t.Fatal(err)
	}
	for edit, says := range map[string]string{
		"@@ f\n-n > 0\n+n > 1\n":                          "",
		"@@ f\n-\tn := g()\n+\tn := 1\n":                  "",
		"@@ f\n-errors.New(\"a\")\n+nil\n":                "", // the import is dropped
		"@@ f\n-n > 0\n+true\n":                           "declared and not used: n",
		"@@ f\n-n > 0\n+g\n":                              "some-mutation: a.go:7",
		"@@ f\n-\t\treturn errors.New(\"a\")\n+\t\th()\n": "undefined: h",
		"@@ g\n-return 1\n+return f\n":                    "b.go",
	} {
		m, err := parseMutation("some-mutation", headers+edit)
		if err != nil {
			t.Fatal(err)
		}
		done, err := tr.apply(m)
		if err != nil {
			t.Fatal(err)
		}
		err = c.check(tr, job{mutation: m, mutated: done})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", edit, err, says)
		}
	}
}
