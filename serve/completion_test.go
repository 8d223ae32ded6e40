package serve

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"inturn/internal/program"
)

// shells are the shells that commands are completed in, each with a script that prints
// what it completes the words "$@" to, a candidate a line.
var shells = map[string]string{
	"bash": `source <(inturn completion bash)
		[[ $(complete -p inturn) == "complete -o default -F _inturn inturn" ]] || exit 1
		COMP_WORDS=(inturn "$@") COMP_CWORD=$#
		_inturn inturn
		printf '%s\n' "${COMPREPLY[@]}"`,
	"zsh": `autoload -U compinit && compinit -u -D
		source <(inturn completion zsh)
		[[ $_comps[inturn] == _inturn ]] || exit 1
		_describe() { print -l -- ${${(P)2}%%:*} }
		_files() { print -l -- *(N) }
		words=(inturn "$@") CURRENT=$(($# + 1))
		_inturn`,
	"fish": `inturn completion fish | source
		complete -C (string join -- ' ' inturn $argv) | cut -f1`,
}

// TestCompletion completes words in each shell.
func TestCompletion(t *testing.T) {
	t.Parallel()
	file := program.Path(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "events.csv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for shell, script := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			program.NeedTool(t, shell)
			complete := func(words ...string) []string {
				args := []string{"-c", script, shell}
				if shell == "fish" { // it has no $0
					args = args[:2]
				}
				command := exec.Command(shell, append(args, words...)...)
				command.Dir = dir
				command.Env = []string{"HOME=" + dir, "TERM=dumb", "PATH=" + filepath.Dir(file) + string(filepath.ListSeparator) + os.Getenv("PATH")}
				out, err := command.CombinedOutput()
				if err != nil {
					t.Fatalf("%q: %v\n%s", words, err, out)
				}
				return strings.Fields(string(out))
			}
			for line, want := range map[string][]string{
				"ser": {"serve"}, "accounts re": {"replay", "resume", "retry"}, "accounts list --sta": {"--state"},
				"accounts list --url https://localhost --state re": {"ready", "retrying"}, "dead redrive --dry": {"--dry-run"}, "nosuch --h": {"--help"},
			} {
				got := complete(strings.Split(line, " ")...)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%q is completed to %q, want %q", line, got, want)
				}
			}
			if got := complete(""); !slices.Contains(got, "accounts") || slices.Contains(got, "candidates") {
				t.Errorf("nothing is completed to %q", got)
			}
			if got := complete("completion", ""); slices.Contains(got, "candidates") || !slices.Contains(got, "zsh") {
				t.Errorf("completion is completed to %q", got)
			}
			// bash completes file names by itself where there are no candidates.
			if got := complete("send", "eve"); shell == "bash" && len(got) > 0 || shell != "bash" && !slices.Contains(got, "events.csv") {
				t.Errorf("send eve is completed to %q", got)
			}
		})
	}
}
