package program

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a running `inturn serve`.
type Server struct {
	Dir           string // where it was started
	Listen, Admin string
	CA            string // file, "" for --tls off
	Cmd           *exec.Cmd
	ended         chan struct{} // closed when it has ended and its log is read
	heard         chan string   // the message of each line of the log; see Wait

	mu  sync.Mutex
	log bytes.Buffer
}

// Serve runs the program in dir on free ports and returns when it is ready. It is killed
// when the test ends.
func Serve(t *testing.T, dir string, env []string, args ...string) *Server {
	t.Helper()
	env = append([]string{"INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0"}, env...)
	return ServeWith(t, Path(t), dir, env, args...)
}

// ServeWith is Serve of the program at file, on the addresses that env or args give.
func ServeWith(t *testing.T, file, dir string, env []string, args ...string) *Server {
	t.Helper()
	SkipRaced(t)
	cmd := exec.Command(file, append([]string{"serve"}, args...)...)
	cmd.Dir, cmd.Env = dir, Env(env...)
	return Launch(t, cmd)
}

// Launch starts a command that is `inturn serve` and returns when it is ready.
func Launch(t *testing.T, cmd *exec.Cmd) *Server {
	t.Helper()
	s := &Server{Dir: cmd.Dir, Cmd: cmd, ended: make(chan struct{}), heard: make(chan string, 10_000)}
	pipe, err := s.Cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			s.hear(lines.Bytes())
		}
		_ = s.Cmd.Wait() // ProcessState has it
	}()
	t.Cleanup(func() {
		s.Cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.Logged())
		}
	})
	s.Wait(t, "ready")
	return s
}

// hear keeps a line of the log. Addresses are set before the line can be waited for.
func (s *Server) hear(line []byte) {
	var said struct{ Msg, Listen, Admin, CA string }
	_ = json.Unmarshal(line, &said) // a line that is no JSON is kept all the same
	s.mu.Lock()
	s.log.Write(append(line, '\n'))
	s.mu.Unlock()
	if said.Msg == "ready" {
		s.Listen, s.Admin, s.CA = said.Listen, said.Admin, said.CA
		if s.CA != "" && !filepath.IsAbs(s.CA) {
			s.CA = filepath.Join(s.Dir, s.CA)
		}
	}
	if said.Msg != "request" { // of those there may be many, and nobody waits for one
		s.heard <- said.Msg
	}
}

// Logged returns the log so far.
func (s *Server) Logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// Wait returns when the log has had message. What came before it is not waited for again.
func (s *Server) Wait(t *testing.T, message string) {
	t.Helper()
	limit := time.After(Patience)
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
			t.Fatalf("the server ended before it said %q:\n%s", message, s.Logged())
		case <-limit:
			t.Fatalf("the server did not say %q:\n%s", message, s.Logged())
		}
	}
}

// Stop ends the server by SIGTERM and returns its exit status.
func (s *Server) Stop(t *testing.T) int {
	t.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return s.End(t)
}

// End waits for a server that is ending.
func (s *Server) End(t *testing.T) int {
	t.Helper()
	select {
	case <-s.ended:
		return s.Cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		t.Fatalf("the server does not end:\n%s", s.Logged())
		return 0
	}
}

// URL returns the address of a path on the public address.
func (s *Server) URL(path string) string {
	if s.CA == "" {
		return "http://" + s.Listen + path
	}
	return "https://" + s.Listen + path
}

// Curl asks the public address of s.
func (s *Server) Curl(t *testing.T, path string, args ...string) Answer {
	t.Helper()
	if s.CA != "" {
		args = append([]string{"--cacert", s.CA}, args...)
	}
	return Curl(t, append(args, s.URL(path))...)
}

// Post sends one event.
func (s *Server) Post(t *testing.T, event string, args ...string) Answer {
	t.Helper()
	return s.Curl(t, "/v1/events", append(args, "--data-binary", event)...)
}

// Line returns the first line of the log that has all of parts in it.
func (s *Server) Line(parts ...string) string {
lines:
	for line := range strings.Lines(s.Logged()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		return line
	}
	return ""
}

// Roots returns the CA certificates that a client of s trusts.
func (s *Server) Roots(t *testing.T) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if s.CA != "" {
		data, err := os.ReadFile(s.CA)
		if err != nil || !pool.AppendCertsFromPEM(data) {
			t.Fatalf("%s: %v", s.CA, err)
		}
	}
	return pool
}

// Client returns an HTTP client that trusts the server's CA.
func (s *Server) Client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.Roots(t)}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: Patience}
}
