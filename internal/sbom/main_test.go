package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"inturn/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// The document names what `go version -m` names of a program, with its checksums, and
// nothing else; it is the same bytes the second time.
func TestWhatIsInAProgram(t *testing.T) {
	file := program.Path(t)
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := write(b, file, "v1.2.3+x"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two documents of one program differ")
	}
	var doc bom
	if err := json.Unmarshal(first.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if c := doc.Metadata.Component; c.Name != "inturn" || c.Version != "v1.2.3+x" || c.PURL != "pkg:golang/inturn@v1.2.3%2Bx" || c.Type != "application" {
		t.Errorf("the program is %+v", c)
	}
	want := []string{"std " + runtime.Version()}
	out, err := exec.CommandContext(t.Context(), "go", "version", "-m", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "dep" {
			want = append(want, f[1]+" "+f[2])
		}
	}
	var got, refs []string
	for _, c := range doc.Components {
		got, refs = append(got, c.Name+" "+c.Version), append(refs, c.Ref)
		if c.Name != "std" && (len(c.Hashes) != 1 || len(c.Hashes[0].Content) != 64) {
			t.Errorf("%s: the checksums are %v", c.Name, c.Hashes)
		}
	}
	if len(want) < 2 || !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if d := doc.Dependencies; len(d) != 1 || d[0].Ref != doc.Metadata.Component.Ref || !slices.Equal(d[0].DependsOn, refs) {
		t.Errorf("the program depends on %v", d)
	}
}

func TestNoProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(&bytes.Buffer{}, file, "v1"); err == nil {
		t.Error("a text file has a bill of materials")
	}
	for _, sum := range []string{"", "h1:", "h1:AAAA", "h2:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="} {
		if _, err := moduleHash(sum); err == nil {
			t.Errorf("%q is a checksum", sum)
		}
	}
}
