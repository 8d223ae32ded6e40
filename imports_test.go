package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// rule says which packages of this repository a package may import.
type rule struct {
	name string // as path.Match has it, below the module; "" for the root
	may  []string
	why  string // what is lost if it imports more
}

// rules are the edges of design: the first that matches a package counts.
var rules = []rule{
	{"", []string{"serve", "functions/*"}, "main lists the functions of this binary, as the main of any other module does"},
	{"serve", []string{"cli", "config", "schedules", "db", "db/postgres", "db/sqlite", "db/sqlite/file", "functions", "functions/api", "functions/hook", "functions/webhook", "logs", "metrics", "page", "runner", "tls"},
		"serve wires the parts, and knows no function by name: a module of its own brings others"},
	{"db", nil, "the contract stands below everything: a second engine takes the first one's place without touching anybody"},
	{"db/dbtest", []string{"db", "functions", "runner"}, "the conformance suite knows the contract, and no engine"},
	{"db/internal/clock", nil, "the wall clock is judged without knowing for what"},
	{"db/internal/drain", nil, "a rate is a rate of anything"},
	{"db/internal/commit", []string{"db"}, "who shares a commit, and what an error makes of it, is decided without SQL, so that it can be tested alone"},
	{"db/sqlite", []string{"db", "db/internal/*", "./file", "./internal/conn", "./internal/q"}, "an engine knows the contract, and nobody that uses it"},
	{"db/sqlite/file", []string{"db", "db/sqlite/internal/conn"}, "the file is cared for as a whole: what the engine does with its rows is above"},
	{"db/sqlite/internal/conn", []string{"db"}, "a connection knows nothing of the file's care and of events"},
	{"db/sqlite/internal/q", nil, "generated code"},
	{"db/postgres", []string{"db", "db/internal/*"}, "the second engine knows the contract, and nothing of the first"},
	{"db/postgres/pgtest", nil, "a server for tests knows nothing of what is tested on it"},
	{"internal/atomicfile", nil, "writing a file needs nothing of ours"},
	{"tls", []string{"internal/atomicfile"}, "certificates know nothing of events"},
	{"functions", []string{"db"}, "the door needs the plain types of the storage and nothing that runs functions"},
	{"functions/cloudevents", nil, "a specification's rules know nothing of what they are asked for"},
	{"functions/webhook", []string{"functions", "functions/cloudevents"}, "events go out by the rules by which they come in; else it is a function like any other"},
	{"functions/api", []string{"db", "functions", "functions/cloudevents", "internal/atomicfile"}, "a request ends where it is durable: who runs it, and when, is the runner's"},
	{"functions/functionstest", []string{"db", "db/sqlite", "db/sqlite/file", "functions", "runner"}, "a function is tested on an engine and the runner alone, without HTTP and certificates"},
	{"page", nil, "the page is a client of the API, which it is given as a handler: bounds, rights and the audit stand there"},
	{"logs", nil, "lines are counted whoever writes them"},
	{"metrics", []string{"db", "runner"}, "what is counted is shown here; who counts doesn't know to whom"},
	{"runner", []string{"db", "functions", "runner/schedule"}, "turns have nothing to do with how events came in or with certificates"},
	{"runner/schedule", []string{"db"}, "which account runs next is decided without functions, locks and clocks, so that it can be tested and simulated alone"},
	{"config", []string{"functions", "functions/hook", "schedules"}, "a file becomes what the parts take: what they do with it is theirs"},
	{"schedules", []string{"db"}, "a tick is an event like any other: it is appended as a client's, and nothing else knows of it"},
	{"client", nil, "other programs compile it: a client is no part of the server"},
	{"cli", []string{"client", "db", "db/sqlite/file", "internal/atomicfile"}, "a command's body gets what it needs from serve: the server it starts, the invariants it asks"},
	{"bench", nil, "what is measured is the real program, from outside"},
	{"proofs", nil, "the proofs judge the real program from outside"},
	{"proofs/*", nil, "the proofs judge the real program from outside"},
	{"deploy", nil, "tests of the files that platforms read"},
	{"docs", nil, "tests of the documents"},
	{"examples", nil, "tests of the examples"},
	{"examples/*", []string{"serve", "functions"}, "an example is a program of somebody else's: it imports what that may"},
	{"clients", nil, "tests of the clients in other languages"},
	{"internal/*", nil, "tools of tests, which the parts' own tests share"},
	{"functions/*/q", nil, "generated code"},
	{"functions/*", []string{"functions", "./q"}, "what a person adds touches the door only, so that the engine can change behind it"},
}

// owner says who alone may import something from outside.
type owner struct {
	what string // an import path; a trailing slash stands for all below it
	may  []string
	why  string
}

var owners = []owner{
	{"modernc.org/", []string{"db/sqlite/internal/conn", "internal/faultvfs"}, "only conn knows the driver"},
	{"github.com/jackc/", []string{"db/postgres", "db/postgres/pgtest"}, "only the engine knows the driver"},
	{"database/sql", []string{"db", "db/postgres", "db/sqlite", "db/sqlite/file", "db/sqlite/internal/*", "cli", "functions/functionstest", "functions/message", "functions/*/q"},
		"SQL is an engine's, the functions' for their own tables, and the commands' that read the file; db has only what sqlc's DBTX asks of a Tx"},
	{"database/sql/", []string{"db/postgres", "db/sqlite/internal/conn", "internal/faultvfs"}, "drivers are an engine's"},
	{"github.com/caddyserver/", []string{"tls"}, "only tls knows certificates"},
	{"go.uber.org/zap", []string{"tls"}, "it is what certmagic logs with; the product logs with log/slog"},
	{"go.uber.org/zap/", []string{"tls"}, "it is what certmagic logs with; the product logs with log/slog"},
	{"github.com/dunglas/httpsfv", []string{"functions/api"}, "structured fields are headers of the API"},
	{"github.com/pires/", []string{"functions/api"}, "connections are opened where requests come in"},
	{"github.com/letsencrypt/", []string{"internal/pebble"}, "the test authority is for tests"},
	{"crypto/x509", []string{"tls", "cli", "client", "internal/pebble", "internal/program"}, "only tls makes certificates, and only a client chooses whom it trusts"},
	{"crypto/x509/", []string{"tls"}, "only tls makes certificates"},
	{"crypto/ecdsa", []string{"tls"}, "only tls makes keys"},
	{"crypto/tls", []string{"serve", "tls", "cli", "client", "functions/api", "bench", "internal/program"}, "sockets are the server's and the clients'"},
	{"net/http", []string{"serve", "tls", "cli", "client", "functions", "functions/*", "metrics", "page", "bench", "internal/pebble", "internal/program"}, "the storage and the runner don't know how events came in"},
	{"github.com/prometheus/", []string{"metrics"}, "only metrics knows Prometheus"},
	{"github.com/oklog/", []string{"db/dbtest", "serve", "runner", "functions/functionstest"}, "actors are made where the process is wired"},
	{"github.com/alecthomas/kong", []string{"serve", "cli"}, "flags are the commands'"},
	{"github.com/goccy/", []string{"config"}, "only config knows YAML"},
	{"github.com/invopop/", nil, "the schema is made by a test, and committed"},
	{"github.com/robfig/", []string{"schedules"}, "only schedules knows how times are written"},
	{"github.com/schollz/", []string{"cli"}, "progress is shown by commands"},
	{"os/signal", []string{"serve", "bench", "proofs/mutation"}, "signals are the process's"},
	{"os/exec", []string{"bench", "db/postgres/pgtest", "internal/program", "proofs/mutation"}, "the product starts no other program"},
	{"testing", []string{"db/dbtest", "db/postgres/pgtest", "functions/functionstest", "internal/pebble", "internal/program"}, "product code has no flags and hooks of tests in it"},
	{"testing/", []string{"db/dbtest"}, "product code has no flags and hooks of tests in it"},
	{"go.uber.org/goleak", []string{"internal/pebble", "internal/program"}, "it is for tests"},
	{"pgregory.net/", []string{"db/dbtest"}, "it is for tests"},
	{"github.com/rogpeppe/", nil, "it is for tests"},
	{"log", []string{"functions/api", "internal/pebble"}, "logs are structured (log/slog); net/http alone wants the old kind"},
	{"net/http/pprof", nil, "it adds itself to a global handler"},
	{"expvar", nil, "it adds itself to a global handler"},
}

// pkg is a package as `go list` has it, without its tests.
type pkg struct {
	ImportPath string
	Imports    []string
}

const module = "inturn"

// forbidden returns what the rules say against the imports of p, with reasons.
func forbidden(p pkg) (all []string) {
	name := below(p.ImportPath)
	at := slices.IndexFunc(rules, func(r rule) bool { return matches(r.name, name) })
	if at < 0 {
		return []string{fmt.Sprintf("%s: no rule says what it may import: add one, with its reason", p.ImportPath)}
	}
	for _, imported := range p.Imports {
		if imported == module || strings.HasPrefix(imported, module+"/") {
			if !slices.ContainsFunc(rules[at].may, func(may string) bool { return edge(name, may, below(imported)) }) {
				all = append(all, fmt.Sprintf("%s must not import %s: %s", p.ImportPath, imported, rules[at].why))
			}
			continue
		}
		for _, o := range owners {
			if (imported == o.what || strings.HasSuffix(o.what, "/") && strings.HasPrefix(imported, o.what)) &&
				!slices.ContainsFunc(o.may, func(may string) bool { return matches(may, name) }) {
				all = append(all, fmt.Sprintf("%s must not import %s: %s", p.ImportPath, imported, o.why))
			}
		}
	}
	return all
}

// edge reports whether may, an entry of the rule for name, allows imported.
func edge(name, may, imported string) bool {
	if own, ok := strings.CutPrefix(may, "./"); ok {
		return imported == name+"/"+own
	}
	return matches(may, imported) && imported != "functions/functionstest"
}

// below is an import path without the module, "" for the module itself.
func below(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func TestImports(t *testing.T) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, errOut.String())
	}
	seen := 0
	for list := json.NewDecoder(&out); ; seen++ {
		var p pkg
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, complaint := range forbidden(p) {
			t.Error(complaint)
		}
	}
	if seen < 10 {
		t.Errorf("go list named %d packages", seen)
	}
}

// The rules refuse what they are for.
func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"inturn", "inturn/serve", true},
		{"inturn", "inturn/db", false},
		{"inturn", "inturn/functions/order", true},
		{"inturn/serve", "inturn/db", true},
		{"inturn/serve", "inturn/functions/message", false},
		{"inturn/serve", "inturn/functions/functionstest", false},
		{"inturn/cli", "inturn/serve", false},
		{"inturn", "inturn/functions/functionstest", false},
		{"inturn/serve", "inturn/db/sqlite", true},
		{"inturn", "inturn/db/sqlite/internal/q", false},
		{"inturn/db/sqlite", "inturn/db/sqlite/internal/q", true},
		{"inturn/db/sqlite", "inturn/db", true},
		{"inturn/db/sqlite", "inturn/functions", false},
		{"inturn/db/sqlite", "inturn/db/dbtest", false},
		{"inturn/db/dbtest", "inturn/db/sqlite", false},
		{"inturn/serve", "inturn/db/dbtest", false},
		{"inturn/db", "inturn/db/sqlite", false},
		{"inturn/db", "inturn/db/sqlite/internal/q", false},
		{"inturn/db", "inturn/functions", false},
		{"inturn/db/sqlite", "modernc.org/sqlite", false},
		{"inturn/db/sqlite/internal/conn", "modernc.org/sqlite", true},
		{"inturn/db/sqlite/internal/conn", "inturn/db/sqlite/file", false},
		{"inturn/db/sqlite/file", "inturn/db/sqlite/internal/conn", true},
		{"inturn/db/sqlite/file", "inturn/db/sqlite", false},
		{"inturn/db/sqlite/file", "inturn/db/sqlite/internal/q", false},
		{"inturn/db", "modernc.org/sqlite", false},
		{"inturn/db", "database/sql/driver", false},
		{"inturn/db", "net/http", false},
		{"inturn/runner", "inturn/db", true},
		{"inturn/runner", "inturn/db/sqlite", false},
		{"inturn/metrics", "inturn/db/sqlite", false},
		{"inturn/functions/api", "inturn/db/sqlite", false},
		{"inturn/runner", "inturn/tls", false},
		{"inturn/runner/schedule", "inturn/db", true},
		{"inturn/runner/schedule", "inturn/runner", false},
		{"inturn/runner/schedule", "inturn/functions", false},
		{"inturn/runner", "inturn/functions/message", false},
		{"inturn/runner", "database/sql", false},
		{"inturn/functions", "inturn/runner", false},
		{"inturn/functions/api", "inturn/runner", false},
		{"inturn/functions/api", "crypto/x509", false},
		{"inturn/functions/order", "inturn/functions", true},
		{"inturn/functions/order", "inturn/functions/order/q", true},
		{"inturn/functions/order", "inturn/functions/message", false},
		{"inturn/functions/order", "inturn/functions/message/q", false},
		{"inturn/functions/order", "inturn/db", false},
		{"inturn/functions/order", "modernc.org/sqlite/lib", false},
		{"inturn/functions/order/q", "database/sql", true},
		{"inturn/cli", "inturn/functions/api", false},
		{"inturn/cli", "testing", false},
		{"inturn/cli", "testing/fstest", false},
		{"inturn/metrics", "inturn/runner", true},
		{"inturn/runner", "inturn/metrics", false},
		{"inturn/db", "github.com/prometheus/client_golang/prometheus", false},
		{"inturn/tls", "inturn/db", false},
		{"inturn/tls", "crypto/x509", true},
		{"inturn/tls", "github.com/caddyserver/certmagic", true},
		{"inturn", "github.com/caddyserver/certmagic", false},
		{"inturn", "inturn/internal/pebble", false},
		{"inturn/tls", "inturn/internal/pebble", false},
		{"inturn/functions/functionstest", "testing", true},
		{"inturn/store", "errors", false}, // a package that no rule knows
	} {
		if got := forbidden(pkg{c.from, []string{c.to}}); (got == nil) != c.allowed {
			t.Errorf("%s imports %s: %q", c.from, c.to, got)
		}
	}
}
