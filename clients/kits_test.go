package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"inturn/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// kit is a client and how its driver is run.
type kit struct {
	name string
	args []string
}

// kits returns the clients that can be run here, built once.
func kits(t *testing.T) []kit {
	t.Helper()
	program.SkipRaced(t)
	all, err := built()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 3 && os.Getenv("INTURN_NEED") != "" {
		t.Fatalf("python3, node or `npm ci` in clients/typescript is missing and INTURN_NEED=all: %v", all)
	}
	return all
}

// TestEachClientIsThere skips what can't be run here, so that it is seen.
func TestEachClientIsThere(t *testing.T) {
	there := map[string]bool{}
	for _, k := range kits(t) {
		there[k.name] = true
	}
	for _, name := range []string{"go", "python", "typescript"} {
		t.Run(name, func(t *testing.T) {
			if !there[name] {
				t.Skip("it is not tested: python3, or node and `npm ci` in clients/typescript, are missing")
			}
		})
	}
}

var built = sync.OnceValues(func() (all []kit, err error) {
	dir, err := program.Folder()
	if err != nil {
		return nil, err
	}
	driver := filepath.Join(dir, "driver")
	cmd := exec.Command("go", "build", "-o", driver, "./testdata/driver")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, &exec.Error{Name: string(out), Err: err}
	}
	all = append(all, kit{"go", []string{driver}})
	if python, err := exec.LookPath("python3"); err == nil {
		all = append(all, kit{"python", []string{python, "testdata/driver.py"}})
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return all, nil
	}
	if _, err := os.Stat("typescript/node_modules/typescript"); err != nil {
		return all, nil
	}
	if out, err := exec.Command(node, "typescript/node_modules/typescript/bin/tsc", "-p", "typescript", "--outDir", dir).CombinedOutput(); err != nil {
		return nil, &exec.Error{Name: "tsc: " + string(out), Err: err}
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600); err != nil {
		return nil, err
	}
	return append(all, kit{"typescript", []string{node, "testdata/driver.mjs", filepath.Join(dir, "inturn.js")}}), nil
})

// said is a line of a driver.
type said struct {
	ClientID  string          `json:"client_id"`
	MessageID string          `json:"message_id"`
	Seq       int64           `json:"seq"`
	State     string          `json:"state"`
	Duplicate bool            `json:"duplicate"`
	Result    json.RawMessage `json:"result"`
	Status    int             `json:"status"`
	Name      string          `json:"name"`
	Error     string          `json:"error"` // of the call, or of a dead event
	Text      string          `json:"text"`

	Event   json.RawMessage   `json:"event"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// child is a driver under way.
type child struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	err  bytes.Buffer

	mu      sync.Mutex
	lines   []said
	first   chan struct{} // closed at the first line, or at the end
	ended   chan struct{}
	failure error
}

// start runs a kit's driver.
func start(t *testing.T, k kit, mode string, ask map[string]any) *child {
	t.Helper()
	input, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, name: k.name + " " + mode, first: make(chan struct{}), ended: make(chan struct{})}
	args := append(append([]string{}, k.args...), mode)
	c.cmd = exec.Command(args[0], args[1:]...)
	c.cmd.Env, c.cmd.Stdin, c.cmd.Stderr = program.Env(), bytes.NewReader(input), &c.err
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		begun := sync.OnceFunc(func() { close(c.first) })
		defer begun()
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var s said
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				c.failure = err
			}
			c.mu.Lock()
			c.lines = append(c.lines, s)
			c.mu.Unlock()
			begun()
		}
		if err := c.cmd.Wait(); err != nil {
			c.failure = err
		}
	}()
	t.Cleanup(func() { c.cmd.Process.Kill(); <-c.ended })
	return c
}

// wait returns all that it said, once it has ended.
func (c *child) wait() []said {
	c.t.Helper()
	<-c.ended
	if c.failure != nil {
		c.t.Errorf("%s: %v\n%s", c.name, c.failure, c.err.String())
	}
	return c.lines
}
