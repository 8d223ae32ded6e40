// Package readers shows what other programs make of a database file of inturn: while the
// server writes to it, once it has ended, and where they may only read. They are in
// modules of their own, so that the product does not have them.
package readers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const page = "../../docs/reading.md"

// The page's table stands between these lines.
const (
	begin = "<!-- the table of proofs/readers -->\n"
	end   = "<!-- the table's end -->\n"
)

// A reader is a program that prints the version of SQLite in it and the number of events.
type reader struct {
	name    string
	command []string // the file follows
}

func readers(bin string) []reader {
	return []reader{
		{"sqlite3, the command", []string{"sqlite3", "-readonly", "-separator", " "}},
		{"Python, sqlite3", []string{"/usr/bin/python3", "testdata/read.py"}},
		{"Python, sqlite3, `immutable=1`", []string{"/usr/bin/python3", "testdata/immutable.py"}},
		{"PHP, SQLite3", []string{"php", "testdata/read.php"}},
		{"Ruby, sqlite3", []string{"ruby", "testdata/read.rb"}},
		{"Perl, DBD::SQLite", []string{"perl", "testdata/read.pl"}},
		{"Tcl, sqlite3", []string{"tclsh", "testdata/read.tcl"}},
		{"R, RSQLite", []string{"Rscript", "testdata/read.R"}},
		{"Go, mattn/go-sqlite3 1.14.53", []string{bin + "/newest", "mattn"}},
		{"Go, ncruces/go-sqlite3 0.37.0", []string{bin + "/newest", "ncruces"}},
		{"Go, zombiezen.com/go/sqlite 1.4.2", []string{bin + "/newest", "zombiezen"}},
		{"Go, mattn/go-sqlite3 1.14.10", []string{bin + "/oldest"}},
		{"Go, mattn/go-sqlite3 1.14.9", []string{bin + "/tooold"}},
		{"Node.js, better-sqlite3 12.11.1", []string{"node", "read.mjs", "better-sqlite3"}},
		{"Node.js, libsql 0.5.29", []string{"node", "read.mjs", "libsql"}},
		{"Node.js, @tursodatabase/database 0.7.2", []string{"node", "read.mjs", "@tursodatabase/database"}},
		{"Node.js, sql.js 1.17.0", []string{"node", "read.mjs", "sql.js"}},
		{"Node.js, node-sqlite3-wasm 0.8.60", []string{"node", "read.mjs", "node-sqlite3-wasm"}},
	}
}

// TestReaders compares each row of the page's table with what its reader does here.
// INTURN_READERS_WRITE=1 writes the page's table anew.
func TestReaders(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("INTURN_NEED") != "" {
			t.Fatal("run as root: a reader without the right to write is another user (INTURN_NEED is set)")
		}
		t.Skip("a reader without the right to write is another user: run as root")
	}
	bin, err := os.MkdirTemp("", "readers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(bin) })
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, "../..", bin+"/inturn", "CGO_ENABLED=0", "")
	for _, m := range []string{"newest", "oldest", "tooold"} {
		build(t, m, bin+"/"+m, "CGO_ENABLED=1", "-X github.com/ncruces/go-sqlite3/driver.driverName=ncruces")
	}
	var table strings.Builder
	table.WriteString("| reader | SQLite in it | the live file | the live file, only read rights | a stopped file | a stopped file, only read rights | a backup |\n|---|---|---|---|---|---|---|\n")
	for _, r := range readers(bin) {
		t.Run(r.name, func(t *testing.T) { table.WriteString(row(t, bin, r)) })
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	if os.Getenv("INTURN_READERS_WRITE") != "" {
		if err := os.WriteFile(page, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != table.String() {
		t.Errorf("%s has\n%s\nand was seen\n%s", page, old, table.String())
	}
}

func build(t *testing.T, dir, to, cgo, ldflags string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-ldflags", ldflags, "-o", to, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", dir, err, out)
	}
}

// row runs one reader in each of the four ways, each on a file of its own.
func row(t *testing.T, bin string, r reader) string {
	s := serve(t, bin)
	for range 50 {
		s.post()
	}
	version := ""
	live := func(user uint32) string {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					s.post()
				}
			}
		}()
		answered := s.answered.Load()
		v, n, err := r.read(s.file, user)
		close(stop)
		<-done
		return s.judge(&version, v, n, answered, err)
	}
	cells := []string{live(0)}
	s.readable()
	cells = append(cells, live(65534))
	s.stop()
	stopped := func(user uint32) string {
		v, n, err := r.read(s.file, user)
		return s.judge(&version, v, n, s.answered.Load(), err)
	}
	cells = append(cells, stopped(0))
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(s.file + suffix); err == nil {
			cells[2] += ", leaves `" + suffix + "`"
			os.Remove(s.file + suffix)
		}
	}
	cells = append(cells, stopped(65534))
	backup := filepath.Dir(s.file) + "/backup.db"
	if out, err := exec.Command(bin+"/inturn", "backup", "--db", s.file, backup).CombinedOutput(); err != nil {
		t.Fatalf("backup: %v: %s", err, out)
	}
	v, n, err := r.read(backup, 0)
	cells = append(cells, s.judge(&version, v, n, s.answered.Load(), err))
	// Whatever the reader did: the file is whole, and has what was answered.
	if out, err := exec.Command(bin+"/inturn", "check", "--db", s.file).CombinedOutput(); err != nil {
		t.Errorf("check after %s: %v: %s", r.name, err, out)
	}
	return "| " + r.name + " | " + version + " | " + strings.Join(cells, " | ") + " |\n"
}

// read runs the reader as a user.
func (r reader) read(file string, user uint32) (version string, n int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args := append(append([]string{}, r.command[1:]...), file)
	if r.command[0] == "sqlite3" {
		args = append(args, "SELECT sqlite_version(), count(*) FROM events")
	}
	cmd := exec.CommandContext(ctx, r.command[0], args...)
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		cmd.Env = append(os.Environ(), "HOME=/")
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", 0, fmt.Errorf("%w: %s", err, errOut.Bytes())
	}
	_, err = fmt.Sscan(out.String(), &version, &n)
	return version, n, err
}

// judge says what a reader saw of the events that were answered before it began.
func (s *server) judge(version *string, v string, n, answered int64, err error) string {
	s.t.Helper()
	switch {
	case err == nil && n >= answered:
		*version = v
		return "all"
	case err == nil:
		*version = v
		return "misses the newest"
	}
	s.t.Logf("%v", err)
	for _, known := range []struct{ text, cell string }{
		{"malformed database schema", "refused: malformed database schema"},
		{"readonly database", "refused: read-only database"},
		{"locked", "refused: locked"},
		{"unable to open database file", "refused: unable to open"},
		{"Could not open", "refused: unable to open"},
		{"ermission denied", "refused: permission denied"},
	} {
		if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(known.text)) {
			return known.cell
		}
	}
	s.t.Errorf("an error that the table has no word for: %v", err)
	return "?"
}

// A server is a running inturn with the number of events that it has answered.
type server struct {
	t        *testing.T
	cmd      *exec.Cmd
	file     string
	url      string
	client   *http.Client
	answered atomic.Int64
}

func serve(t *testing.T, bin string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "readers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t: t, file: dir + "/inturn.db"}
	s.cmd = exec.Command(bin+"/inturn", "serve", "--db", s.file, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	log, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	lines := bufio.NewScanner(log)
	for s.url == "" && lines.Scan() {
		var l struct{ Msg, Listen string }
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "ready" {
			s.url = "https://" + l.Listen
		}
	}
	if s.url == "" {
		t.Fatal("the server was never ready")
	}
	go io.Copy(io.Discard, log)
	ca, err := os.ReadFile(dir + "/tls/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return s
}

func (s *server) post() {
	n := s.answered.Load()
	body := fmt.Sprintf(`{"client_id":"a%d","message_id":"%d","payload":{"phone":"+70000000001","text":"hello"}}`, n%7, n)
	res, err := s.client.Post(s.url+"/v1/events", "application/json", strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return
	}
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		s.t.Errorf("a reader made the server answer %s", res.Status)
		return
	}
	s.answered.Add(1)
}

// readable lets everybody read the file and nobody but its owner write it.
func (s *server) readable() {
	for _, f := range []string{filepath.Dir(s.file), s.file, s.file + "-wal", s.file + "-shm"} {
		mode := os.FileMode(0o644)
		if f == filepath.Dir(s.file) {
			mode = 0o755
		}
		if err := os.Chmod(f, mode); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *server) stop() {
	s.client.CloseIdleConnections()
	if err := errors.Join(s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait()); err != nil {
		s.t.Errorf("the server ended with %v", err)
	}
}
