package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestOperatorScripts runs testdata/operate/*.txtar: what an operator types when
// something fails, with a server of their own each. Beside testscript's commands they have
//
//	serve [FLAG…]           starts a server in $WORK on free ports; the commands after it ask that one
//	stop                    ends it in order
//	until REGEXP COMMAND…   repeats the command until what it prints matches
//	logged REGEXP           the server's log matches
func TestOperatorScripts(t *testing.T) {
	program.SkipRaced(t)
	t.Setenv("INTURN_TOKEN", "")
	program.NeedTool(t, "curl")
	file := program.Failing(t)
	scripts, err := filepath.Glob(filepath.Join("testdata", "operate", "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts: %q, %v", scripts, err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			t.Parallel()
			o := &operator{t: t, file: file}
			testscript.Run(t, testscript.Params{
				Files:               []string{script},
				RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", filepath.Dir(file)+string(filepath.ListSeparator)+os.Getenv("PATH"))
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": o.serve, "stop": o.stop, "until": o.until, "logged": o.logged},
			})
		})
	}
}

// operator is the commands of a script.
type operator struct {
	t      *testing.T
	file   string
	server *program.Server
}

func (o *operator) serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || o.server != nil {
		ts.Fatalf("usage: serve [FLAG…], once")
	}
	o.server = program.ServeWith(o.t, o.file, ts.Getenv("WORK"), []string{"INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0",
		"INTURN_TOKEN=" + ts.Getenv("INTURN_TOKEN")}, args...)
	ts.Setenv("INTURN_URL", "https://localhost:"+program.Port(o.server.Listen))
	ts.Setenv("INTURN_CACERT", o.server.CA)
}

func (o *operator) stop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || o.server == nil || len(args) > 0 {
		ts.Fatalf("usage: stop, after serve")
	}
	if status := o.server.Stop(o.t); status != 0 {
		ts.Fatalf("the server ended with status %d", status)
	}
	o.server = nil
}

func (o *operator) until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND…")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for limit := time.Now().Add(program.Patience); ; time.Sleep(10 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(limit) {
			ts.Fatalf("%s never prints %s", fmt.Sprint(args[1:]), args[0])
		}
	}
}

func (o *operator) logged(ts *testscript.TestScript, neg bool, args []string) {
	if o.server == nil || len(args) != 1 {
		ts.Fatalf("usage: logged REGEXP, after serve")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	if want.MatchString(o.server.Logged()) == neg {
		ts.Fatalf("log of the server, for %s:\n%s", args[0], o.server.Logged())
	}
}
