package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"inturn/functions/hook"
	"inturn/internal/program"
)

// Each YAML block of the page about the configuration file is a file
// that `inturn config check` takes; and each product has its row.
func TestConfigurationsAreGood(t *testing.T) {
	t.Parallel()
	program.SkipRaced(t)
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	env := []string{"GREET_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "GITHUB_SECRET=s", "SLACK_SECRET=s"}
	for page, want := range map[string]int{"config.md": 3} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		all := blocks.FindAllSubmatch(text, -1)
		if len(all) != want {
			t.Errorf("%s has %d blocks of YAML, want %d", page, len(all), want)
		}
		for i, block := range all {
			dir := t.TempDir()
			for name, text := range map[string][]byte{"inturn.yaml": block[1], "shop-secret": []byte("s")} {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if r := program.Run(t, dir, env, "config", "check", "inturn.yaml"); r.Status != 0 {
				t.Errorf("%s, block %d: %s", page, i+1, r.ErrOut)
			}
		}
		for _, name := range hook.Verifiers() {
			if page == "config.md" && !strings.Contains(string(text), "\n| `"+name+"` |") {
				t.Errorf("%s has no row of %s", page, name)
			}
		}
	}
}
