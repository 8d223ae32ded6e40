package serve

import (
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"inturn/internal/program"
)

// hangingUp sends its own process a SIGHUP before the first thing that is written to it.
type hangingUp struct {
	io.Writer
	once sync.Once
}

func (h *hangingUp) Write(b []byte) (int, error) {
	var err error
	h.once.Do(func() { err = syscall.Kill(os.Getpid(), syscall.SIGHUP) })
	if err != nil {
		return 0, err
	}
	return h.Writer.Write(b)
}

// TestEarlyHangup: a SIGHUP that comes with the first line of the log, before the server is
// ready, does not end the process.
func TestEarlyHangup(t *testing.T) {
	const child = "HANGUP_TEST_CHILD"
	if os.Getenv(child) != "" {
		os.Exit(execute(nil, []string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, os.Stdout, &hangingUp{Writer: os.Stderr}))
	}
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file, "-test.run=^TestEarlyHangup$")
	cmd.Dir, cmd.Env = t.TempDir(), program.Env(child+"=1")
	s := program.Launch(t, cmd)
	if status := s.Stop(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}
