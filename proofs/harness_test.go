// Package proofs holds tests that show the promises of DESIGN.md on the real binary
// and the real file: processes are killed, stopped and doubled, disks fill up, the
// power is cut, and what is left is judged by what the senders know.
//
// INTURN_LONG=1 turns on the long forms, CI what is between them and a person's patience.
package proofs

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds a wait for what must come on a slow machine too; it is no measure
// of speed.
const patience = 2 * time.Minute

// TestMain lets more tests run at once than there are processors, unless -parallel says
// how many: they wait for other processes and for disks most of the time.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	status := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, "goroutines that the tests left behind:", err)
		status = 1
	}
	os.Exit(status)
}

// long reports whether the long forms of tests are asked for.
func long() bool { return os.Getenv("INTURN_LONG") != "" }

// thorough reports whether nobody waits: then tests that take many seconds run too.
func thorough() bool { return long() || os.Getenv("CI") != "" }

// needThorough skips the test where a person waits for it.
func needThorough(t testing.TB) {
	t.Helper()
	if !thorough() {
		t.Skip("it takes long: set CI=1 or INTURN_LONG=1")
	}
}

// needed reports whether a missing tool is a failure.
func needed() bool { return os.Getenv("INTURN_NEED") != "" }

// needTool skips the test, by name, where a program is missing.
func needTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case needed():
		t.Fatalf("%s is needed (INTURN_NEED is set)", name)
	default:
		t.Skipf("%s is not installed", name)
	}
	return ""
}

// built is the binary, made once a test process by the first test that wants it: as it
// ships, or with the race detector where the tests have it. A race ends it at once.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// theBinary returns the path of the real binary.
func theBinary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "inturn-proofs-"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", filepath.Join(built.dir, "inturn"), ".")
		build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
		if raced {
			build.Args = slices.Insert(build.Args, 2, "-race")
			build.Env = append(build.Env, "CGO_ENABLED=1")
		}
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "inturn")
}

// process is one `inturn serve`.
type process struct {
	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended and its log is read

	mu    sync.Mutex
	lines []logLine
	more  chan struct{} // closed and replaced with every line
}

// logLine is a line of the log; one that is no JSON has only its text.
type logLine struct {
	Level  string
	Msg    string
	Listen string
	Admin  string
	Holder string
	text   string
}

func dbFile(dir string) string { return filepath.Join(dir, "inturn.db") }

// start runs `inturn serve` on the folder dir and does not wait for anything. The
// process is gone when the test ends, or when the test process does.
func start(t testing.TB, dir string, flags ...string) *process {
	t.Helper()
	return startWith(t, nil, dir, flags...)
}

// startWith is start with settings in the environment.
func startWith(t testing.TB, env []string, dir string, flags ...string) *process {
	t.Helper()
	if raceSparse > 1 && !long() {
		t.Skip("the server is another process, which the race detector doesn't see: set INTURN_LONG=1, or run it without -race")
	}
	args := append([]string{"serve", "--db", dbFile(dir), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags...)
	p := &process{t: t, dir: dir, gone: make(chan struct{}), more: make(chan struct{}), cmd: exec.Command(theBinary(t), args...)}
	p.cmd.Env = append(environment(), env...)
	p.cmd.SysProcAttr = endsWithParent()
	log, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.watch(log)
	t.Cleanup(func() {
		p.kill()
		<-p.gone
	})
	return p
}

// environment is ours without the settings of an inturn of this machine.
func environment() []string {
	env := []string{"GORACE=halt_on_error=1"} // also of one that is killed later
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "INTURN_") {
			env = append(env, e)
		}
	}
	return env
}

// watch reads the log until the process ends.
func (p *process) watch(log io.Reader) {
	in := bufio.NewReader(log)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			line := logLine{text: text}
			_ = json.Unmarshal([]byte(text), &line) // what is no JSON stays a text
			p.mu.Lock()
			p.lines = append(p.lines, line)
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
		if err != nil {
			break
		}
	}
	p.cmd.Wait()
	close(p.gone)
}

// find returns the first line of the log with one of these messages, and what to wait
// for if there is none.
func (p *process) find(msgs ...string) (logLine, bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if slices.Contains(msgs, l.Msg) {
			return l, true, nil
		}
	}
	return logLine{}, false, p.more
}

func (p *process) said(msg string) bool {
	_, ok, _ := p.find(msg)
	return ok
}

// says waits for a line of the log with one of these messages.
func (p *process) says(msgs ...string) logLine {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		line, ok, more := p.find(msgs...)
		if ok {
			return line
		}
		select {
		case <-more:
		case <-p.gone:
			if line, ok, _ := p.find(msgs...); ok {
				return line
			}
			p.t.Fatalf("the process ended (%v) and never said %q:\n%s", p.cmd.ProcessState, msgs, p.log())
		case <-timeout:
			p.t.Fatalf("the process never said %q:\n%s", msgs, p.log())
		}
	}
}

// ready waits until events are taken and returns where.
func (p *process) ready() (url string) { return "https://" + p.says("ready").Listen }

func (p *process) admin() string { return "http://" + p.says("ready").Admin }

// log is the log's end.
func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, l := range p.lines[max(0, len(p.lines)-40):] {
		b.WriteString(l.text)
	}
	return b.String()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// stop stops the process and returns when it stands still.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || !status.Stopped():
			p.t.Fatalf("stop: status %v, %v", status, err)
		default:
			return
		}
	}
}

// kill ends the process as a crash would, also one that is stopped.
func (p *process) kill() { p.cmd.Process.Kill() }

// crash kills the process and waits until it is gone.
func (p *process) crash() {
	p.kill()
	<-p.gone
}

// ends waits for the end and returns the exit status, -1 for one by a signal.
func (p *process) ends() int {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(patience):
		p.t.Fatalf("the process does not end:\n%s", p.log())
	}
	return p.cmd.ProcessState.ExitCode()
}

// stops ends the process in order and judges how it went.
func (p *process) stops() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if status := p.ends(); status != 0 {
		p.t.Errorf("exit status %d after SIGTERM:\n%s", status, p.log())
	}
	p.clean()
}

// clean fails the test if the log holds what no user should see.
func (p *process) clean() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l.Level == "ERROR" || strings.Contains(l.text, "panic") || strings.Contains(l.text, "goroutine ") {
			p.t.Errorf("the log says: %s", l.text)
		}
	}
}

// inturn runs another command of the binary and returns what it printed.
func inturn(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return inturnWithin(t, patience, args...)
}

func inturnWithin(t testing.TB, limit time.Duration, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, theBinary(t), args...)
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// eventually waits for a condition that gives no signal of its own.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}
