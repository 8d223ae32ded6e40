package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"inturn/internal/program"
)

// clientBlock is a program of clients.md.
var clientBlock = regexp.MustCompile("(?m)^```(?:go|python|ts)\n((?://|#) ((?:send/main|send)\\.(?:go|py|ts))\n(?s:.*?))^```$")

// clientLines are what is typed to run the programs of clients.md.
func clientLines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("clients.md")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^(?:go run ./send|python3 send.py|node send.ts)$`).FindAllString(string(text), -1)
}

// The programs of clients.md are run as it says, beside a server, and print what it says.
// The one in TypeScript is compiled where Node does not take it as it is.
func TestTheClients(t *testing.T) {
	t.Parallel()
	program.SkipRaced(t)
	text, err := os.ReadFile("clients.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("print `([^`]*)`").FindStringSubmatch(string(text))
	blocks := clientBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 3 || len(clientLines(t)) != 3 || said == nil {
		t.Fatalf("clients.md has %d programs, %d lines to run them, and says %q", len(blocks), len(clientLines(t)), said)
	}
	for _, b := range blocks {
		t.Run(filepath.Ext(b[2]), func(t *testing.T) {
			s := program.Serve(t, t.TempDir(), nil)
			r := recipe{t: t, dir: s.Dir}
			code := strings.ReplaceAll(b[1], "://localhost:8443", "://localhost:"+program.Port(s.Listen))
			file := filepath.Join(r.dir, b[2])
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := r.client(b[2]); got != said[1]+"\n" {
				t.Errorf("%s prints %q, want %q", b[2], got, said[1])
			}
			if status := s.Stop(t); status != 0 {
				t.Errorf("the server ended with status %d", status)
			}
		})
	}
}

// client runs a program of clients.md and returns what it prints.
func (r *recipe) client(name string) string {
	r.t.Helper()
	copyOf := func(from string) {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, filepath.Base(from)), text, 0o600)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	switch filepath.Ext(name) {
	case ".py":
		program.NeedTool(r.t, "python3")
		copyOf("../clients/python/inturn.py")
		return r.must("python3", name)
	case ".ts":
		program.NeedTool(r.t, "node")
		compiler, err := filepath.Abs("../clients/typescript/node_modules/typescript/bin/tsc")
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := os.Stat(compiler); err != nil {
			if os.Getenv("INTURN_NEED") != "" {
				r.t.Fatal("run npm ci in clients/typescript: INTURN_NEED=all")
			}
			r.t.Skip("run npm ci in clients/typescript to have it compiled")
		}
		copyOf("../clients/typescript/inturn.ts")
		if err := os.WriteFile(filepath.Join(r.dir, "package.json"), []byte(`{"type":"module"}`), 0o600); err != nil {
			r.t.Fatal(err)
		}
		types := filepath.Join(filepath.Dir(compiler), "../../@types")
		r.must("node", compiler, "--target", "es2022", "--module", "nodenext", "--strict", "--rewriteRelativeImportExtensions", "--skipLibCheck", "--typeRoots", types, "--types", "node", name)
		return r.must("node", "send.js")
	}
	if err := os.WriteFile(filepath.Join(r.dir, "go.mod"), []byte("module own\n\ngo 1.26.0\n\nrequire inturn v0.0.0\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.checkout()
	r.must("go", "mod", "tidy")
	return r.must("go", "run", "./send")
}
