// Package pgtest gives tests a PostgreSQL: one server a test binary, which pgtest starts as
// a user other than root and ends with the binary, in a folder of its own.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running PostgreSQL.
type Server struct {
	folder string // of the data, the socket and the log
	bin    string
	socket string
	port   int
	cmd    *exec.Cmd
	user   *syscall.Credential // nil: that of the test
	exited chan struct{}
	n      atomic.Int64 // of schemas
}

var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Main runs the tests of a package whose tests call Get, and ends the server that they used.
func Main(m *testing.M) {
	code := m.Run()
	shared.Lock()
	if shared.server != nil {
		shared.server.Stop()
	}
	os.Exit(code)
}

// Need skips the test where no PostgreSQL is installed, or fails it if INTURN_NEED is "all".
func Need(t testing.TB) {
	t.Helper()
	if _, err := find(); err != nil && os.Getenv("INTURN_NEED") != "all" {
		t.Skipf("PostgreSQL: %v", err)
	} else if err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
}

// Get returns the server of this test binary, which the first call starts. Where no
// PostgreSQL is installed the test is skipped; it fails if INTURN_NEED is "all".
func Get(t testing.TB) *Server {
	t.Helper()
	Need(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start()
	}
	if shared.err != nil {
		t.Fatalf("PostgreSQL: %v", shared.err)
	}
	return shared.server
}

var errNone = errors.New("not installed: apt-get install postgresql-15, or set INTURN_POSTGRES_BIN to a folder that has initdb and postgres")

// Start starts a server with an empty database cluster.
func Start() (*Server, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(memory(), "inturn-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder, bin: bin, socket: folder, exited: make(chan struct{})}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return s, nil
}

// find returns the folder of the server's programs.
func find() (string, error) {
	if bin := os.Getenv("INTURN_POSTGRES_BIN"); bin != "" {
		return bin, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errNone
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

// memory returns a folder in memory, where a sync costs nothing, or "" if there is none.
func memory() string {
	var st syscall.Statfs_t
	if syscall.Statfs("/dev/shm", &st) == nil && int64(st.Bavail)*st.Bsize > 1<<30 {
		return "/dev/shm"
	}
	return ""
}

func (s *Server) start() error {
	if os.Geteuid() == 0 { // which PostgreSQL refuses to run as
		name := "nobody"
		if _, err := user.Lookup("postgres"); err == nil {
			name = "postgres"
		}
		u, err := user.Lookup(name)
		if err != nil {
			return err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		s.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.folder, int(uid), int(gid)); err != nil {
			return err
		}
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "inturn", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	s.port = port
	return s.Run()
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// Run starts the server on the data that are there.
func (s *Server) Run() error {
	s.cmd = s.command("postgres", "-D", s.data(), "-k", s.socket, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port),
		"-c", "max_connections=400", "-c", "shared_buffers=64MB", "-c", "max_wal_size=256MB", "-c", "autovacuum_naptime=5s")
	log, err := os.OpenFile(filepath.Join(s.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(s.exited) }()
	for end := time.Now().Add(30 * time.Second); ; {
		err := s.Exec("SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			text, _ := os.ReadFile(filepath.Join(s.folder, "log"))
			return fmt.Errorf("postgres has ended: %s", text)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("postgres does not answer: %w", err)
		}
	}
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Kill ends the server as a crash of its machine's processes does: Run recovers.
func (s *Server) Kill() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	<-s.exited
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	s.Kill()
	if err := os.RemoveAll(s.folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
	}
}

// URL returns the server's address. Parameters are added to it.
func (s *Server) URL(parameters ...string) string {
	q := url.Values{"host": {s.socket}, "port": {strconv.Itoa(s.port)}, "sslmode": {"disable"}}
	for _, p := range parameters {
		k, v, _ := strings.Cut(p, "=")
		q.Set(k, v)
	}
	return "postgres://inturn@/postgres?" + q.Encode()
}

// Addr returns the server's address on the loopback interface.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Schema returns a name that no other test of this server has.
func (s *Server) Schema() string { return fmt.Sprintf("inturn_%d", s.n.Add(1)) }

// Exec runs statements on a connection of its own.
func (s *Server) Exec(statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for _, text := range statements {
		if _, err := c.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// Copy copies the schema from to a new schema, as it is committed now: tables with their
// keys and rows, sequences and views.
func (s *Server) Copy(ctx context.Context, from, to string) error {
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, fmt.Sprintf(copySchema, from, to), pgx.QueryExecModeSimpleProtocol)
	return err
}

const copySchema = `
BEGIN ISOLATION LEVEL REPEATABLE READ;
DO $do$
DECLARE
	old text := '%[1]s'; new text := '%[2]s'; r record; v bigint;
BEGIN
	EXECUTE format('CREATE SCHEMA %%I', new);
	FOR r IN SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = old::regnamespace AND c.relkind = 'r' ORDER BY c.relname LOOP
		EXECUTE format('CREATE TABLE %%I.%%I (LIKE %%I.%%I INCLUDING ALL)', new, r.relname, old, r.relname);
		EXECUTE format('INSERT INTO %%I.%%I OVERRIDING SYSTEM VALUE SELECT * FROM %%I.%%I', new, r.relname, old, r.relname);
	END LOOP;
	-- Sequences, also those of identity columns, go on where they are.
	FOR r IN SELECT c.relname, d.deptype FROM pg_class c LEFT JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'i'
		WHERE c.relnamespace = old::regnamespace AND c.relkind = 'S' LOOP
		IF r.deptype IS NULL THEN EXECUTE format('CREATE SEQUENCE %%I.%%I', new, r.relname); END IF;
		EXECUTE format('SELECT last_value FROM %%I.%%I', old, r.relname) INTO v;
		PERFORM setval(format('%%I.%%I', new, r.relname)::regclass, v + 1);
	END LOOP;
	PERFORM set_config('search_path', format('%%I', new), true);
	FOR r IN SELECT viewname, definition FROM pg_views WHERE schemaname = old ORDER BY viewname DESC LOOP
		EXECUTE format('CREATE VIEW %%I AS ', r.viewname) || replace(r.definition, old || '.', '');
	END LOOP;
END $do$;
COMMIT`
