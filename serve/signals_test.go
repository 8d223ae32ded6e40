//go:build linux

package serve

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"inturn/internal/program"
)

// SIGHUP reloads and never kills, with files to be read again and without.
func TestHangupReloads(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil)
	for range 2 {
		if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.Wait(t, "reloading")
	}
	if a := s.Post(t, chat("a", "1", "hello"), "-H", "Prefer: wait=60"); a.Status != 200 {
		t.Errorf("after SIGHUP: %d %s", a.Status, a.Body)
	}
	if a := s.Post(t, busy("a", "2")); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	s.Cmd.Process.Signal(syscall.SIGTERM)
	s.Wait(t, "stopping")
	s.Cmd.Process.Signal(syscall.SIGHUP) // while it ends, too
	if a := program.Curl(t, "http://"+s.Admin+"/healthz"); a.Status != 200 {
		t.Errorf("SIGHUP ends a drain: %d", a.Status)
	}
	s.Cmd.Process.Signal(syscall.SIGTERM)
	s.End(t)
	wantCheck(t, s.Dir)
}

// A terminal that is closed ends its server in order, but for one that was started to
// outlive it.
func TestAClosedTerminal(t *testing.T) {
	t.Parallel()
	// A process that this one starts ignores SIGHUP if this one does, as under nohup. While
	// it is caught here it has its default there.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(caught) })
	for _, c := range []struct {
		name, shell string
		ends        bool
	}{
		{"serve", `exec "$0" serve`, true},
		{"nohup", `trap "" HUP; exec "$0" serve`, false},
		// A shell passes the signal on, as an interactive one does.
		{"background", `"$0" serve & server=$!; trap 'kill -HUP $server' HUP; wait; wait $server`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			master, slave := openTerminal(t)
			cmd := exec.Command("bash", "-c", c.shell, program.Path(t))
			cmd.Dir, cmd.Env = t.TempDir(), program.Env("INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0")
			cmd.Stdin = slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
			s := program.Launch(t, cmd)
			t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // what a shell has left
			slave.Close()
			master.Close() // hangs up
			if !c.ends {
				s.Wait(t, "reloading")
				if a := s.Post(t, chat("a", "1", "hello"), "-H", "Prefer: wait=60"); a.Status != 200 {
					t.Errorf("without its terminal: %d %s", a.Status, a.Body)
				}
				s.Stop(t)
				return
			}
			s.Wait(t, "stopped")
			if status := s.End(t); status != 0 {
				t.Errorf("it ends with status %d", status)
			}
			if strings.Contains(s.Logged(), "reloading") {
				t.Error("it takes the end of its terminal for a wish to reload")
			}
		})
	}
}

// openTerminal opens a pseudo-terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
