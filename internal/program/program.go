// Package program runs the real program in tests: as it ships, in a process of its
// own, on free ports, with curl as its client.
package program

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patience bounds a wait for what must come on a slow machine too; it measures nothing.
const Patience = 2 * time.Minute

// Main runs the tests of a package, removes the programs that they built, and fails
// where they leave goroutines behind. TestMain calls it.
func Main(m *testing.M, leftovers ...goleak.Option) {
	status := m.Run()
	for _, dir := range built.dirs {
		os.RemoveAll(dir)
	}
	if err := goleak.Find(leftovers...); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, "goroutines that the tests left behind:", err)
		status = 1
	}
	os.Exit(status)
}

// Full reports whether tests run at the size that the documents give.
func Full() bool { return os.Getenv("INTURN_LONG") != "" || os.Getenv("INTURN_NEED") != "" }

// NeedTool skips the test where a program is not installed. With INTURN_NEED set it
// fails the test.
func NeedTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("INTURN_NEED") != "" {
		t.Fatalf("%s is not installed and INTURN_NEED=all", name)
	}
	t.Skipf("%s is not installed", name)
}

// SkipRaced skips a test that drives another process where the tests run with the race
// detector, unless INTURN_LONG is set: that process would have the detector too and take
// many times as long.
func SkipRaced(t *testing.T) {
	t.Helper()
	if Raced && os.Getenv("INTURN_LONG") == "" {
		t.Skip("it drives another process, whose binary would have to be built with the race detector and is slow then: set INTURN_LONG=1, or run it without -race")
	}
}

// built is the folders with programs that tests have built.
var built struct {
	sync.Mutex
	dirs []string
}

var (
	shipped = sync.OnceValues(func() (string, error) { return build("inturn") })
	failing = sync.OnceValues(func() (string, error) { return build("inturn/internal/program/testdata/failing") })
)

// Folder makes a folder for what the tests of a package build. Main removes it.
func Folder() (string, error) {
	dir, err := os.MkdirTemp("", "inturn-test-")
	if err != nil {
		return "", err
	}
	built.Lock()
	defer built.Unlock()
	built.dirs = append(built.dirs, dir)
	return dir, nil
}

// build makes a main package in a new folder, where it is called inturn: with CGO off, or
// with the race detector where the tests have it.
func build(importPath string) (string, error) {
	dir, err := Folder()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "inturn")
	cmd := exec.Command("go", "build", "-o", file, importPath)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if Raced {
		cmd = exec.Command("go", "build", "-race", "-o", file, importPath)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
}

// Path returns the path of the program as it ships. A test process builds it once.
func Path(t *testing.T) string {
	t.Helper()
	return path(t, shipped)
}

// Failing returns the path of the program with the functions of testdata/failing, which
// fail on demand. A test process builds it once.
func Failing(t *testing.T) string {
	t.Helper()
	return path(t, failing)
}

func path(t *testing.T, build func() (string, error)) string {
	t.Helper()
	SkipRaced(t)
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Env returns the environment of this process without the settings of an inturn or of a
// proxy, and with more settings.
func Env(more ...string) []string {
	env := []string{"GORACE=halt_on_error=1"} // where the race detector is in it
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "INTURN_") && !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			env = append(env, e)
		}
	}
	return append(env, more...)
}

// Result is how a program ended.
type Result struct {
	Status      int
	Out, ErrOut string
}

// Run runs the program in dir until it ends. One that does not end is killed, which its
// status shows.
func Run(t *testing.T, dir string, env []string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Path(t), args...)
	cmd.Dir, cmd.Env = dir, Env(env...)
	return RunCommand(t, cmd)
}

// RunCommand runs cmd to its end. A status that is not 0 does not fail the test.
func RunCommand(t *testing.T, cmd *exec.Cmd) Result {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return Result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// Port returns the port of an address.
func Port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
