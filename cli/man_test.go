package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Each command that help shows has a page, which is sound to groff where that is installed.
func TestMan(t *testing.T) {
	var commands struct {
		Go struct {
			Fast struct {
				Where string `arg:"" help:"'here' or .there"`
				Speed int    `help:"In \\m/s." env:"INTURN_SPEED"`
				Quiet bool   `hidden:""`
			} `cmd:"" help:"Go fast."`
		} `cmd:"" help:"Move."`
		Gone struct{} `cmd:"" hidden:""`
	}
	parser, err := kong.New(&commands, kong.Name("inturn"), kong.Description("What it is for."))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "man")
	if err := (Man{Dir: dir}).Run(parser, Build{Version: "v1"}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	if got := strings.Join(names, " "); got != "inturn-go-fast.1 inturn-go.1 inturn.1" {
		t.Errorf("pages: %s", got)
	}
	page, err := os.ReadFile(filepath.Join(dir, "inturn-go-fast.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`.TH INTURN\-GO\-FAST 1 "" "inturn v1" "inturn"`, "\ninturn\\-go\\-fast \\- Go fast\n", ".B inturn go fast\n", ".I where\n\\&'here' or .there\n", ".B \\-\\-speed=INT\nIn \\em/s.\nEnvironment: INTURN_SPEED.\n", ".BR inturn\\-go (1)\n"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if strings.Contains(string(page), "quiet") {
		t.Error("a hidden flag is shown")
	}
	if _, err := exec.LookPath("groff"); err != nil {
		return
	}
	for _, file := range files {
		if out, err := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", file, err, out)
		}
	}
}
