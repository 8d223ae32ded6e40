package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startLimit = time.Minute
	stopLimit  = 30 * time.Second
)

// process is a program that serves until it is stopped.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string // file
	ended chan error
	err   error // set once ended was read
	over  bool
}

func (b *bench) start(name string, credential *syscall.Credential, env []string, command ...string) (*process, error) {
	log, err := os.CreateTemp(b.dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(b.ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = b.dir, log, log, append(environment(), env...)
	if credential != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, log: log.Name(), ended: make(chan error, 1)}
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

// ready waits until probe succeeds.
func (p *process) ready(ctx context.Context, probe func() bool) error {
	for deadline := time.Now().Add(startLimit); ; {
		if probe() {
			return nil
		}
		select {
		case p.err = <-p.ended:
			p.over = true
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended: %w: %s", p.name, p.err, text[max(0, len(text)-500):])
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s was not ready after %v", p.name, startLimit)
		}
	}
}

// says reports whether the log contains text.
func (p *process) says(text string) func() bool {
	return func() bool {
		log, err := os.ReadFile(p.log)
		return err == nil && bytes.Contains(log, []byte(text))
	}
}

func (p *process) stop() error {
	if p.over {
		return nil
	}
	p.over = true
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopLimit):
		p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not stop within %v", p.name, stopLimit)
	}
}

// cpu is the time that all threads of the process have run, and rss its resident
// memory in bytes. proc(5).
func (p *process) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.New("the system doesn't tell how long threads ran")
	}
	var sum int64
	for _, task := range tasks {
		ns, err := strconv.ParseInt(strings.Split(firstLine(task), " ")[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", task, err)
		}
		sum += ns
	}
	return time.Duration(sum), nil
}

func (p *process) rss() (int64, error) {
	text := after(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmRSS")
	kb, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	return kb << 10, err
}

// listening reports whether addr takes connections.
func listening(addr string) func() bool {
	return func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
}

// freeAddr returns an address that has no listener now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// server is a running `inturn serve`.
type server struct {
	*process
	b     *bench
	addr  string
	file  string
	ready time.Duration // from its start until it took events
	began time.Time
}

// folder makes a folder for a database.
func (b *bench) folder() (string, error) { return os.MkdirTemp(b.dir, "db-") }

// serve starts inturn on the file in dir.
func (b *bench) serve(dir string) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &server{b: b, addr: addr, file: filepath.Join(dir, "inturn.db"), began: time.Now()}
	s.process, err = b.start("inturn", nil, nil, b.inturn, "serve", "--db", s.file, "--listen", addr, "--admin", admin,
		"--tls-dir", filepath.Join(b.dir, "tls"), "--log-level", "error", "--drain", "100ms")
	if err != nil {
		return nil, err
	}
	probe := &http.Client{Timeout: 5 * time.Second}
	defer probe.CloseIdleConnections()
	err = s.process.ready(b.ctx, func() bool {
		resp, err := probe.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	s.ready = time.Since(s.began)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// discard stops the server and removes its file.
func (s *server) discard() error {
	return errors.Join(s.stop(), os.RemoveAll(filepath.Dir(s.file)))
}

// query returns the numbers of the one row that sql selects.
func (b *bench) query(file, sql string) ([]int64, error) {
	text, err := b.output(2*time.Minute, b.inturn, "query", "--db", file, "--csv", sql)
	if err != nil {
		return nil, err
	}
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(records) != 2 {
		return nil, fmt.Errorf("query %q: %q %v", sql, text, err)
	}
	numbers := make([]int64, len(records[1]))
	for i, field := range records[1] {
		if numbers[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return nil, fmt.Errorf("query %q: %w", sql, err)
		}
	}
	return numbers, nil
}
