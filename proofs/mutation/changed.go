package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// lines is a range of lines of a file, from 1, both ends in it.
type lines struct{ first, last int }

// changes are the lines of the tree that differ from a commit, by file.
type changes map[string][]lines

// changesSince asks git what differs in the work tree from commit base, renames apart.
func changesSince(root, base string) (changes, error) {
	cmd := exec.Command("git", "diff", "--unified=0", "--find-renames", "--no-color", "--no-ext-diff", "--no-prefix", "--relative", base, "--")
	cmd.Dir = root
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("git diff %s: %w: %s", base, err, bytes.TrimSpace(e.Stderr))
	} else if err != nil {
		return nil, err
	}
	return parseDiff(string(out)), nil
}

var hunk = regexp.MustCompile(`^@@ -\S+ \+([0-9]+)(?:,([0-9]+))? @@`)

// parseDiff reads a unified diff without context. Where lines are only removed, the lines
// before and after the gap count as changed.
func parseDiff(diff string) changes {
	c := changes{}
	file, left := "", 0 // left: lines of the hunk that are still to come
	for s := range strings.Lines(diff) {
		s = strings.TrimSuffix(s, "\n")
		if left > 0 && strings.HasPrefix(s, "+") {
			left--
			continue
		}
		if name, ok := strings.CutPrefix(s, "+++ "); ok {
			file = strings.TrimSuffix(name, "\t")
			continue
		}
		m := hunk.FindStringSubmatch(s)
		if m == nil {
			continue
		}
		first, _ := strconv.Atoi(m[1])
		n := 1
		if m[2] != "" {
			n, _ = strconv.Atoi(m[2])
		}
		left = n
		if n == 0 {
			c[file] = append(c[file], lines{first, first + 1})
		} else {
			c[file] = append(c[file], lines{first, first + n - 1})
		}
	}
	return c
}

// touch reports whether the change concerns a job: its own file, a declaration that it
// edits, or its test.
func (c changes) touch(t *tree, j job) bool {
	if len(c[path.Join("proofs/mutations", j.name+".mutation")]) > 0 {
		return true
	}
	for _, d := range j.places {
		if c.in(t, d) {
			return true
		}
	}
	top, _, _ := strings.Cut(j.test.pattern, "/")
	re, err := regexp.Compile(top)
	for _, d := range t.decls {
		if err == nil && d.recv == "" && path.Dir(d.file) == j.dir && strings.HasSuffix(d.file, "_test.go") && re.MatchString(d.name) && c.in(t, d) {
			return true
		}
	}
	return false
}

// in reports whether a line of d is changed.
func (c changes) in(t *tree, d decl) bool {
	text := t.files[d.file].text
	first := 1 + bytes.Count(text[:d.start], []byte("\n"))
	last := first + bytes.Count(text[d.start:d.end], []byte("\n"))
	for _, l := range c[d.file] {
		if l.first <= last && l.last >= first {
			return true
		}
	}
	return false
}
