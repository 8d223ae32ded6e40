package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutation is what a file NAME.mutation says.
type mutation struct {
	name    string
	promise string
	about   string   // what the mutation breaks, in a line
	imports []string // added to mutated files that use one and don't have it
	test    testCall
	edits   []edit
}

// testCall is the test that must see the mutation.
type testCall struct {
	env     []string // NAME=value
	hint    string   // a part of the package's folder, where several have such a test
	pattern string   // what `go test -run` gets
	flags   []string
}

// edit is one section of a mutation: a declaration and lines as in a unified diff.
type edit struct {
	place string // what stands behind @@, for messages
	file  bool   // name is a file's base name, and the whole file is searched
	after bool   // the lines are added behind the declaration
	recv  string // the receiver's type, "" for anything but a method
	name  string
	hint  string // a part of the file's path, where several places fit
	lines []line
}

// line is a line of an edit: op is ' ' (stays), '-' (goes) or '+' (comes).
type line struct {
	op   byte
	text string
}

// readMutations reads the files of dir, all or those named.
func readMutations(dir string, names []string) (list []mutation, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.mutation"))
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		files = nil
		for _, name := range names {
			files = append(files, filepath.Join(dir, strings.TrimSuffix(filepath.Base(name), ".mutation")+".mutation"))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no mutations", dir)
	}
	var all []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parseMutation(strings.TrimSuffix(filepath.Base(file), ".mutation"), string(text))
		if err != nil {
			all = append(all, err)
			continue
		}
		list = append(list, m)
	}
	return list, errors.Join(all...)
}

// parseMutation reads the text of a mutation: first the headers, then the edits.
func parseMutation(name, text string) (mutation, error) {
	m := mutation{name: name}
	for i, s := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		var err error
		switch at := len(m.edits) - 1; {
		case strings.HasPrefix(s, "@@ "):
			err = m.section(strings.TrimPrefix(s, "@@ "))
		case at < 0 && strings.HasPrefix(s, "#"):
			err = m.header(strings.TrimSpace(s[1:]))
		case at < 0:
			err = errors.New("a mutation begins with lines of # and sections of @@")
		case s == "":
			m.edits[at].lines = append(m.edits[at].lines, line{' ', ""})
		case strings.IndexByte(" -+", s[0]) >= 0:
			m.edits[at].lines = append(m.edits[at].lines, line{s[0], s[1:]})
		default:
			err = errors.New("a line of an edit begins with a space, - or +")
		}
		if err != nil {
			return m, fmt.Errorf("%s.mutation:%d: %q: %w", name, i+1, s, err)
		}
	}
	return m, m.complete()
}

func (m *mutation) header(s string) (err error) {
	key, value, _ := strings.Cut(s, ":")
	switch value = strings.TrimSpace(value); key {
	case "promise":
		m.promise = value
	case "test":
		m.test, err = parseTest(value)
	case "imports":
		m.imports = strings.Fields(value)
	default:
		m.about = strings.TrimSpace(m.about + " " + s)
	}
	return err
}

// parseTest reads `[NAME=value…] [HINT] PATTERN [FLAG…]`.
func parseTest(s string) (t testCall, err error) {
	words := strings.Fields(s)
	for len(words) > 0 && strings.Contains(words[0], "=") {
		t.env, words = append(t.env, words[0]), words[1:]
	}
	if len(words) > 0 && !testName.MatchString(words[0]) {
		t.hint, words = strings.TrimPrefix(words[0], "./"), words[1:]
	}
	if len(words) == 0 {
		return t, errors.New("it names no test (want: # test: [NAME=value] [FOLDER] ^TestX$ [FLAG])")
	}
	t.pattern, t.flags = words[0], words[1:]
	return t, nil
}

var testName = regexp.MustCompile(`\bTest[A-Z0-9_]\w*`)

func (t testCall) String() string {
	return strings.Join(slices.Concat(t.env, []string{t.pattern}, t.flags), " ")
}

// section begins an edit: `[after] NAME [in HINT]` or `file NAME [in HINT]`, where NAME
// is that of a declaration, for a method with its receiver's type before it.
func (m *mutation) section(s string) error {
	e := edit{place: s}
	words := strings.Fields(s)
	if n := len(words); n >= 3 && words[n-2] == "in" {
		e.hint, words = words[n-1], words[:n-2]
	}
	if len(words) == 2 {
		switch words[0] {
		case "after":
			e.after = true
		case "file":
			e.file = true
		default:
			return errors.New("want @@ [after|file] NAME [in HINT]")
		}
		words = words[1:]
	}
	if len(words) != 1 {
		return errors.New("want @@ [after|file] NAME [in HINT]")
	}
	e.name = words[0]
	if recv, name, ok := strings.Cut(e.name, "."); ok && !e.file {
		e.recv, e.name = recv, name
	}
	m.edits = append(m.edits, e)
	return nil
}

// complete reports what a mutation lacks.
func (m *mutation) complete() error {
	switch {
	case m.promise == "":
		return fmt.Errorf("%s.mutation: no line `# promise: N`", m.name)
	case m.test.pattern == "":
		return fmt.Errorf("%s.mutation: no line `# test: ^TestX$`", m.name)
	case m.about == "":
		return fmt.Errorf("%s.mutation: no line that says what it breaks", m.name)
	case len(m.edits) == 0:
		return fmt.Errorf("%s.mutation: no edits", m.name)
	}
	for _, e := range m.edits {
		if !slices.ContainsFunc(e.lines, func(l line) bool { return l.op != ' ' }) {
			return fmt.Errorf("%s.mutation: @@ %s: nothing goes or comes", m.name, e.place)
		}
		if !e.after && len(e.pattern()) == 0 {
			return fmt.Errorf("%s.mutation: @@ %s: no line stays or goes, so it has no place", m.name, e.place)
		}
		if e.after && slices.ContainsFunc(e.lines, func(l line) bool { return l.op != '+' && l.text != "" }) {
			return fmt.Errorf("%s.mutation: @@ %s: only lines of + can stand behind a declaration", m.name, e.place)
		}
	}
	return nil
}
