package serve

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"inturn/internal/program"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/*.txtar and ../cli/testdata/*.txtar with the real program:
// they read as a person would use it, each in an empty folder of its own. $SERVED
// has the file inturn.db of a running server, $FRESH one without events.
func TestScripts(t *testing.T) {
	t.Setenv("INTURN_TOKEN", "")
	file := program.Path(t)
	served, fresh := t.TempDir(), t.TempDir()
	serveOnce(t, fresh).stop(t)
	p := serveOnce(t, served)
	event := `{"client_id":"alice","message_id":"1","payload":{"phone":"+70000000001","text":"hello, \"you\""}}`
	if status, body := p.ask(t, "POST", "/v1/events", event, http.Header{"Prefer": {"wait=60"}}); status != http.StatusOK {
		t.Fatalf("POST: %d %s", status, body)
	}
	for _, dir := range []string{"testdata", filepath.Join("..", "cli", "testdata")} {
		t.Run(dir, func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir:                 dir,
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Cmds:                map[string]func(*testscript.TestScript, bool, []string){"patch": patchFile},
				Setup: func(env *testscript.Env) error {
					env.Setenv("SERVED", served)
					env.Setenv("FRESH", fresh)
					env.Setenv("PATH", filepath.Dir(file)+string(filepath.ListSeparator)+os.Getenv("PATH"))
					return nil
				},
			})
		})
	}
}

// patchFile is the command `patch FILE OFFSET BYTE…` of the scripts: it writes bytes into a
// file, such as the version of a database (https://sqlite.org/fileformat2.html, 1.3).
func patchFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: patch FILE OFFSET BYTE…")
	}
	var numbers []byte
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	for _, text := range args[2:] {
		n, err := strconv.ParseUint(text, 10, 8)
		ts.Check(err)
		numbers = append(numbers, byte(n))
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt(numbers, int64(offset))
	ts.Check(errors.Join(err, f.Close()))
}

func serveOnce(t *testing.T, dir string) *inProcess {
	t.Helper()
	return serveHere(t, shippedFunctions(), "--db", filepath.Join(dir, "inturn.db"))
}
