// Package examples tests the examples: each is run by its one command, and prints what it
// is there to show.
package examples

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"inturn/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

func TestExamples(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "openssl", "python3"} {
		program.NeedTool(t, tool)
	}
	want := map[string]string{
		"order":    "{\"cents\":450,\"order\":1}\nclient_id  sku  cents\nanna       tea  450\n",
		"greet":    "{\"greeting\":\"hello Anna\"}\n",
		"github":   "{\"repository\":\"acme/shop\",\"commits\":2,\"event\":\"push\"} duplicate: false\n{\"repository\":\"acme/shop\",\"commits\":2,\"event\":\"push\"} duplicate: true\n",
		"stripe":   "{\"sent\":\"anna@example.com\"}\n",
		"telegram": "{\"sent\":\"You said: hello\"}\n",
		"nightly":  "{\"report\":\"daily\",\"dead\":0,\"parked\":0}\n",
	}
	found, err := filepath.Glob("*/run")
	if err != nil || len(found) != len(want) {
		t.Fatalf("%d examples have a command, want %d: %v", len(found), len(want), err)
	}
	path := program.Path(t)
	for _, run := range found {
		t.Run(filepath.Dir(run), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, "./"+run)
			cmd.Env = program.Env("INTURN="+path, fmt.Sprintf("PORT=%d", ports(t, 4)))
			if got := program.RunCommand(t, cmd); got.Status != 0 || got.Out != want[filepath.Dir(run)] {
				t.Errorf("%s: status %d, prints\n%s\nwant\n%s\n%s", run, got.Status, got.Out, want[filepath.Dir(run)], got.ErrOut)
			}
		})
	}
}

// Each configuration of an example is one that the server takes.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*/inturn.yaml")
	if err != nil || len(found) < 4 {
		t.Fatalf("%d configurations, %v", len(found), err)
	}
	for _, file := range found {
		env := []string{"INTURN_FUNCTION_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "GITHUB_SECRET=s", "STRIPE_SECRET=whsec_s", "TELEGRAM_SECRET=s"}
		if r := program.Run(t, ".", env, "config", "check", file); r.Status != 0 {
			t.Errorf("%s: %s", file, r.ErrOut)
		}
	}
}

// The page about the examples names each command.
func TestThePageNamesEach(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*/run")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, run := range found {
		if !strings.Contains(text, "| `examples/"+run+"` |") {
			t.Errorf("README.md has no row of examples/%s", run)
		}
	}
	if n := len(regexp.MustCompile("(?m)^\\| `examples/").FindAllString(text, -1)); n != len(found) {
		t.Errorf("README.md has %d rows of examples, there are %d", n, len(found))
	}
}

// ports returns the first of n ports in a row that are free.
func ports(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port, held := first.Addr().(*net.TCPAddr).Port, []net.Listener{first}
		for i := 1; i < n; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if err != nil {
				break
			}
			held = append(held, l)
		}
		for _, l := range held {
			l.Close()
		}
		if len(held) == n {
			return port
		}
	}
	t.Fatal("no ports are free in a row")
	return 0
}
