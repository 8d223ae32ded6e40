package serve

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"inturn/internal/program"
)

// Where nothing reads the log any more, or its reader has gone, the server works on, says
// so where it is asked, and ends in order.
func TestALogWithoutAReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		gone    bool
		metric  string
		warning string
	}{
		{"stands still", false, `inturn_log_lines_lost_total{reason="full"} `, "nothing reads the log"},
		{"is gone", true, `inturn_log_lines_lost_total{reason="failed"} `, "the log can't be written: write /dev/stderr: broken pipe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, log := serveUnread(t, "--log-level", "debug")
			if c.gone {
				log.Close()
			}
			client := s.Client(t)
			for range 2000 { // of some 300 bytes each in the log
				resp, err := client.Get(s.URL("/v1/accounts"))
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			client.CloseIdleConnections()
			if a := s.Post(t, chat("a", "1", "hello"), "-H", "Prefer: wait=60"); a.Status != 200 {
				t.Errorf("an event: %d %s", a.Status, a.Body)
			}
			if a := program.Curl(t, "http://"+s.Admin+"/metrics"); !strings.Contains(a.Body, c.metric) || strings.Contains(a.Body, c.metric+"0\n") {
				t.Errorf("the metrics don't count what is lost as %s", c.metric)
			}
			if got := tellsReady(t, s); got != c.warning {
				t.Errorf("readyz warns %q, want %q", got, c.warning)
			}
			s.Cmd.Process.Signal(syscall.SIGTERM)
			if err := waitFor(t, s.Cmd); err != nil {
				t.Errorf("it ends with %v", err)
			}
			wantCheck(t, s.Dir)
		})
	}
}

// serveUnread starts a server and reads its log until it is ready.
func serveUnread(t *testing.T, args ...string) (s *program.Server, log io.ReadCloser) {
	t.Helper()
	cmd := exec.Command(program.Path(t), append([]string{"serve"}, args...)...)
	cmd.Dir, cmd.Env = t.TempDir(), program.Env("INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0")
	log, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
	})
	s = &program.Server{Dir: cmd.Dir, Cmd: cmd}
	for lines := bufio.NewScanner(log); s.Listen == "" && lines.Scan(); {
		var said struct{ Msg, Listen, Admin, CA string }
		if json.Unmarshal(lines.Bytes(), &said); said.Msg == "ready" {
			s.Listen, s.Admin, s.CA = said.Listen, said.Admin, filepath.Join(s.Dir, said.CA)
		}
	}
	if s.Listen == "" {
		t.Fatal("the server is not ready")
	}
	return s, log
}

// waitFor waits for a program's end.
func waitFor(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(program.Patience):
		cmd.Process.Kill()
		<-ended
		t.Fatal("the program does not end")
		return nil
	}
}

// A message for people is not waited for either: the database that can't be opened.
func TestAMessageThatNobodyReads(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(program.Path(t), "serve", "--db", t.TempDir())
	cmd.Env, cmd.Stderr = program.Env(), fullPipe(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, cmd); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ends with %v", err)
	}
}

// fullPipe is a pipe that nothing reads and that has no room left.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write.Close(); read.Close() })
	write.SetWriteDeadline(time.Now().Add(time.Second))
	for err == nil {
		_, err = write.Write(make([]byte, 4096))
	}
	return write
}
