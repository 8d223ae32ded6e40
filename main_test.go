package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"inturn/internal/pebble"
)

// patience bounds a wait for what must come on a slow machine too; it is no measure
// of speed.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	status := m.Run()
	for _, dir := range builtIn.dirs {
		os.RemoveAll(dir)
	}
	if err := goleak.Find(pebble.Leftovers()...); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, "goroutines that the tests left behind:", err)
		status = 1
	}
	os.Exit(status)
}

// full reports whether everything is to be run at the size that is documented.
func full() bool { return os.Getenv("INTURN_LONG") != "" || os.Getenv("INTURN_NEED") != "" }

// needTool skips a test, by name, where a program is missing.
func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("INTURN_NEED") != "" {
		t.Fatalf("%s is not installed and INTURN_NEED=all", name)
	}
	t.Skipf("%s is not installed", name)
}

// elsewhere skips, by name, what drives another process: with the race detector in it
// that takes many times as long. INTURN_LONG=1 wants it.
func elsewhere(t *testing.T) {
	t.Helper()
	if raced && os.Getenv("INTURN_LONG") == "" {
		t.Skip("it drives another process, whose binary would have to be built with the race detector and is slow then: set INTURN_LONG=1, or run it without -race")
	}
}

// builtIn are the folders with binaries that tests have built.
var builtIn struct {
	sync.Mutex
	dirs []string
}

// binary returns the path of the real program: as it ships, with CGO off, or with the
// race detector where the tests have it. It is built once.
var binary = sync.OnceValues(func() (string, error) { return build() })

// build makes the program in a new folder, where it is called inturn.
func build(flags ...string) (string, error) {
	dir, err := os.MkdirTemp("", "inturn-test-")
	if err != nil {
		return "", err
	}
	builtIn.Lock()
	builtIn.dirs = append(builtIn.dirs, dir)
	builtIn.Unlock()
	file := filepath.Join(dir, "inturn")
	cgo := "0"
	if raced {
		flags, cgo = append(flags, "-race"), "1"
	}
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", file, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
}

func program(t *testing.T) string {
	t.Helper()
	elsewhere(t)
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// cleanEnv is the environment without settings of an inturn or a proxy of this
// machine, and with more settings.
func cleanEnv(more ...string) []string {
	env := []string{"GORACE=halt_on_error=1"} // where the race detector is in it
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "INTURN_") && !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			env = append(env, e)
		}
	}
	return append(env, more...)
}

// ran is the end of a program.
type ran struct {
	status      int
	out, errOut string
}

// inturn runs the real program in dir until it ends; one that does not is killed,
// which its status shows.
func inturn(t *testing.T, dir string, env []string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), args...)
	cmd.Dir, cmd.Env = dir, cleanEnv(env...)
	return runCommand(t, cmd)
}

// runCommand runs cmd; a status that is not 0 is for the caller to judge.
func runCommand(t *testing.T, cmd *exec.Cmd) ran {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return ran{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// server is a running `inturn serve`.
type server struct {
	dir           string // where it was started
	listen, admin string
	ca            string // file, "" for --tls off
	cmd           *exec.Cmd
	ended         chan struct{} // closed when it has ended and its log is read
	heard         chan string   // the message of each line of the log; see wait

	mu  sync.Mutex
	log bytes.Buffer
}

// startServer runs the real program in dir on free ports and returns when it is
// ready. It is killed when the test ends.
func startServer(t *testing.T, dir string, env []string, args ...string) *server {
	t.Helper()
	env = append([]string{"INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0"}, env...)
	return start(t, program(t), dir, env, args...)
}

func start(t *testing.T, file, dir string, env []string, args ...string) *server {
	t.Helper()
	elsewhere(t)
	cmd := exec.Command(file, append([]string{"serve"}, args...)...)
	cmd.Dir, cmd.Env = dir, cleanEnv(env...)
	return launch(t, cmd)
}

// launch starts a command that is `inturn serve` and returns when it is ready.
func launch(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{dir: cmd.Dir, cmd: cmd, ended: make(chan struct{}), heard: make(chan string, 10_000)}
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			s.hear(lines.Bytes())
		}
		s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.logged())
		}
	})
	s.wait(t, "ready")
	return s
}

// hear keeps a line of the log. Addresses are set before the line can be waited for.
func (s *server) hear(line []byte) {
	var said struct{ Msg, Listen, Admin, CA string }
	_ = json.Unmarshal(line, &said) // a line that is no JSON is kept all the same
	s.mu.Lock()
	s.log.Write(append(line, '\n'))
	s.mu.Unlock()
	if said.Msg == "ready" {
		s.listen, s.admin, s.ca = said.Listen, said.Admin, said.CA
		if s.ca != "" && !filepath.IsAbs(s.ca) {
			s.ca = filepath.Join(s.dir, s.ca)
		}
	}
	if said.Msg != "request" { // of those there may be many, and nobody waits for one
		s.heard <- said.Msg
	}
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// wait returns when the log has had message. What came before it is not waited for again.
func (s *server) wait(t *testing.T, message string) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case said := <-s.heard:
			if said == message {
				return
			}
		case <-s.ended:
			// What it said last may be what is waited for.
			for len(s.heard) > 0 {
				if <-s.heard == message {
					return
				}
			}
			t.Fatalf("the server ended before it said %q:\n%s", message, s.logged())
		case <-limit:
			t.Fatalf("the server did not say %q:\n%s", message, s.logged())
		}
	}
}

// stop ends the server by SIGTERM and returns its exit status.
func (s *server) stop(t *testing.T) int {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return s.end(t)
}

// end waits for a server that is ending.
func (s *server) end(t *testing.T) int {
	t.Helper()
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("the server does not end:\n%s", s.logged())
		return 0
	}
}

// url is the address of a path on the public address.
func (s *server) url(path string) string {
	if s.ca == "" {
		return "http://" + s.listen + path
	}
	return "https://" + s.listen + path
}

// answer is what curl got.
type answer struct {
	status int
	header http.Header
	body   string
}

// curl asks the public address of s.
func (s *server) curl(t *testing.T, path string, args ...string) answer {
	t.Helper()
	if s.ca != "" {
		args = append([]string{"--cacert", s.ca}, args...)
	}
	return curl(t, append(args, s.url(path))...)
}

// post sends one event.
func (s *server) post(t *testing.T, event string, args ...string) answer {
	t.Helper()
	return s.curl(t, "/v1/events", append(args, "--data-binary", event)...)
}

// curl runs the real curl. It fails the test where there was no answer at all.
func curl(t *testing.T, args ...string) answer {
	t.Helper()
	needTool(t, "curl")
	dir := t.TempDir()
	header, body := filepath.Join(dir, "header"), filepath.Join(dir, "body")
	args = append([]string{"--silent", "--show-error", "--max-time", "60", "--path-as-is", "-D", header, "-o", body}, args...)
	cmd := exec.CommandContext(t.Context(), "curl", args...)
	cmd.Env = cleanEnv()
	if r := runCommand(t, cmd); r.status != 0 {
		t.Fatalf("curl: status %d: %s", r.status, r.errOut)
	}
	a := answer{}
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) { // no body, no file
			t.Fatal(err)
		}
		return string(b)
	}
	a.body = read(body)
	// The last header is the answer's; before it there may be a 100 Continue.
	blocks := strings.Split(strings.TrimSuffix(read(header), "\r\n\r\n"), "\r\n\r\n")
	statusLine, fields, _ := strings.Cut(blocks[len(blocks)-1], "\r\n")
	if _, err := fmt.Sscanf(statusLine, "HTTP/%s %d", new(string), &a.status); err != nil {
		t.Fatalf("status line %q: %v", statusLine, err)
	}
	parsed, err := textproto.NewReader(bufio.NewReader(strings.NewReader(fields + "\r\n\r\n"))).ReadMIMEHeader()
	if err != nil {
		t.Fatalf("header %q: %v", fields, err)
	}
	a.header = http.Header(parsed)
	return a
}

// problem is an answer that is RFC 9457's application/problem+json.
type problem struct {
	Type      string
	Status    int
	Detail    string
	RequestID string `json:"request_id"`
	Seq       int64
	Errors    []struct{ Pointer, Parameter, Detail string }
}

func (a answer) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q of a problem: %s", got, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("problem %q: %v", a.body, err)
	}
	if p.Status != a.status || p.RequestID != a.header.Get("X-Request-ID") || p.RequestID == "" || p.Detail == "" {
		t.Errorf("problem %s does not agree with its header: %d %v", a.body, a.status, a.header)
	}
	return p
}
