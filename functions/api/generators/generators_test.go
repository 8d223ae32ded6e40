// Package generators tests that openapi.yaml is understood by what makes clients of it:
// oapi-codegen and ogen for Go, openapi-typescript for TypeScript. It is a module of its own,
// with the generators as its tools, and what npm installs.
package generators

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// document is openapi.yaml, from this folder.
const document = "../openapi.yaml"

// Each generator takes the document; its client compiles, posts an event to the real server,
// and understands the answers: of an event that has run, and of its repeat.
func TestGeneratedClients(t *testing.T) {
	address := serve(t)
	for name, post := range map[string]func(t *testing.T, address string) []byte{
		"oapi": func(t *testing.T, address string) []byte {
			out := t.TempDir()
			run(t, "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "client", "-o", filepath.Join(out, "client.go"), document)
			return runOver(t, "oapi", out, address)
		},
		"ogen": func(t *testing.T, address string) []byte {
			out := t.TempDir()
			run(t, "go", "tool", "ogen", "--loglevel", "error", "--target", out, "--package", "client", document)
			return runOver(t, "ogen", out, address)
		},
		"typescript": func(t *testing.T, address string) []byte {
			out, err := os.MkdirTemp(".", "generated-") // below node_modules, where imports are looked for
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(out) })
			text, err := os.ReadFile("testdata/typescript.ts")
			if err == nil {
				err = os.WriteFile(filepath.Join(out, "main.ts"), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			run(t, "node_modules/.bin/openapi-typescript", document, "-o", filepath.Join(out, "client.ts"))
			run(t, "node_modules/.bin/tsc", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom",
				filepath.Join(out, "main.ts"))
			return run(t, "node", filepath.Join(out, "main.js"), address)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seq int64
			got := string(post(t, address))
			_, _ = fmt.Sscanf(got, name+" 1 %d", &seq) // what it isn't is said next
			if want := fmt.Sprintf("%s 1 %d done false\n%s 1 %d done true\n", name, seq, name, seq); seq == 0 || got != want {
				t.Errorf("the client prints\n%swant\n%s", got, want)
			}
		})
	}
}

// runOver runs the program testdata/NAME with the files of generated as its package client.
func runOver(t *testing.T, name, generated, address string) []byte {
	t.Helper()
	here, err := filepath.Abs(filepath.Join("testdata", name, "client"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(generated, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the generator has made %v, %v", files, err)
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for _, file := range files {
		overlay.Replace[filepath.Join(here, filepath.Base(file))] = file
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, "go", "run", "-overlay", list, "./testdata/"+name, address)
}

// run runs a program to its end and returns what it has printed.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v (is npm ci run?): %v\n%s", cmd, err, out)
	}
	return out
}

// serve builds the server and starts it, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "inturn")
	build := exec.Command("go", "build", "-o", file, ".")
	build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), file, "serve", "--tls", "off", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--db", filepath.Join(dir, "inturn.db"))
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, time.Minute
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var said struct{ Msg, Listen string }
			if json.Unmarshal(lines.Bytes(), &said) == nil && said.Msg == "ready" {
				ready <- said.Listen
			}
		}
	}()
	t.Cleanup(func() { // t's context has ended by then
		for range ready {
		}
		_ = cmd.Wait()
	})
	address := <-ready
	if address == "" {
		t.Fatal("the server does not start")
	}
	return "http://" + address
}
