package serve

import (
	"database/sql"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"inturn/internal/program"
)

// A request that was on its way when shutdown began is not taken: the sender is told
// to come back, or its connection is closed without an answer.
func TestAnswersWhileItEnds(t *testing.T) {
	t.Parallel()
	program.NeedTool(t, "curl")
	s := program.Serve(t, t.TempDir(), nil)
	begun, release := make(chan struct{}), make(chan struct{})
	relay := holdRequests(t, s.Listen, begun, release)
	// TLS 1.2, where the type of a record shows that the handshake is over.
	cmd := exec.CommandContext(t.Context(), "curl", "--silent", "--show-error", "--max-time", "60", "--cacert", s.CA, "--include",
		"--http1.1", "--tls-max", "1.2", "--connect-to", "::"+relay, s.URL("/v1/events"), "-d", chat("a", "1", "x"))
	cmd.Env = program.Env()
	got := make(chan program.Result, 1)
	go func() {
		defer close(got)
		got <- program.RunCommand(t, cmd)
	}()
	<-begun
	s.Cmd.Process.Signal(syscall.SIGTERM)
	s.Wait(t, "stopping")
	close(release)
	switch r := <-got; r.Status {
	case 0:
		if !regexp.MustCompile(`(?s)^HTTP/1.1 503 .*\r\nRetry-After: \d+\r\n.*urn:inturn:problem:shutting-down"`).MatchString(r.Out) {
			t.Errorf("answered %s", r.Out)
		}
	case 52, 55, 56: // curl's: nothing received, can't send, can't receive
	default:
		t.Errorf("curl: %+v", r)
	}
	if status := s.End(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	wantCheck(t, s.Dir)
	if r := program.Run(t, s.Dir, nil, "query", "--csv", "SELECT count(*) FROM outbox"); strings.TrimSpace(r.Out) != "count(*)\n0" {
		t.Errorf("what was refused is stored: %+v", r)
	}
}

// While functions drain, /readyz and new events are told no and questions are answered; a second signal ends the rest at once and
// loses nothing.
func TestTheEndIsSaidAndCanBeHastened(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil)
	if a := s.Post(t, busy("a", "1"), "-H", "Prefer: wait=1"); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	s.Cmd.Process.Signal(syscall.SIGTERM)
	s.Wait(t, "stopping")
	a := program.Curl(t, "http://"+s.Admin+"/readyz")
	if p := a.Problem(t); a.Status != 503 || p.Type != "urn:inturn:problem:shutting-down" || a.Header.Get("Retry-After") == "" {
		t.Errorf("readyz while it ends: %d %v %s", a.Status, a.Header, a.Body)
	}
	if a := program.Curl(t, "http://"+s.Admin+"/healthz"); a.Status != 200 {
		t.Errorf("healthz while it ends: %d %s", a.Status, a.Body)
	}
	a = s.Post(t, chat("b", "1", "x"))
	if p := a.Problem(t); a.Status != 503 || p.Type != "urn:inturn:problem:shutting-down" || a.Header.Get("Retry-After") == "" {
		t.Errorf("an event while it ends: %d %v %s", a.Status, a.Header, a.Body)
	}
	if a := s.Curl(t, "/v1/events/a/1"); a.Status != 200 {
		t.Errorf("a question while it ends: %d %s", a.Status, a.Body)
	}
	s.Cmd.Process.Signal(syscall.SIGTERM)
	s.End(t)
	if strings.Contains(s.Logged(), "goroutine ") {
		t.Error("it ended with a stack trace")
	}
	wantCheck(t, s.Dir)
	if r := program.Run(t, s.Dir, nil, "query", "--csv", "SELECT state FROM events"); strings.TrimSpace(r.Out) != "state\npending" {
		t.Errorf("the event that was cut short: %+v", r)
	}
}

// holdRequests relays one TLS 1.2 connection to addr. It lets the handshake through
// and holds what the client sends then, from begun until release.
func holdRequests(t *testing.T, addr string, begun chan<- struct{}, release <-chan struct{}) (listen string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const applicationData = 23 // RFC 5246, section 6.2.1
	up, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		down, err := l.Accept()
		if err != nil {
			ended <- struct{}{}
			return
		}
		go func() {
			defer func() { ended <- struct{}{} }()
			defer down.Close()
			io.Copy(down, up)
		}()
		held := false
		for head := make([]byte, 5); ; {
			if _, err := io.ReadFull(down, head); err != nil {
				return
			}
			if head[0] == applicationData && !held {
				held = true
				close(begun)
				<-release
			}
			if _, err := up.Write(head); err != nil {
				return
			}
			if _, err := io.CopyN(up, down, int64(head[3])<<8|int64(head[4])); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		up.Close()
		<-ended
		<-ended
	})
	return l.Addr().String()
}

func TestTheAdminAddress(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), []string{"INTURN_TOKEN=a-secret-of-this-test"})
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 200, "/nothing": 404, "/v1/events": 404} {
		if a := program.Curl(t, "http://"+s.Admin+path); a.Status != status {
			t.Errorf("%s: %d, want %d: %s", path, a.Status, status, a.Body)
		}
	}
	if a := s.Curl(t, "/readyz", "-H", "Authorization: Bearer a-secret-of-this-test"); a.Status != 404 {
		t.Errorf("/readyz on the public address: %d", a.Status)
	}
	if r := program.Run(t, s.Dir, []string{"INTURN_ADMIN=" + s.Admin}, "health"); r != (program.Result{}) {
		t.Errorf("health: %+v", r)
	}
	s.Stop(t)
	r := program.Run(t, s.Dir, nil, "health", "--admin", s.Admin)
	if r.Status != 1 || !strings.Contains(r.ErrOut, "connection refused\nhint: ") {
		t.Errorf("health without a server: %+v", r)
	}
}

// refused is a program that must end by itself, with a message for people.
type refused struct {
	name   string
	env    []string
	args   []string
	status int
	says   string // pattern of the message
	hint   string // pattern of the line after it, "" for none
}

func (c refused) run(t *testing.T, dir string) {
	t.Run(c.name, func(t *testing.T) {
		r := program.Run(t, dir, append([]string{"INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0"}, c.env...), c.args...)
		if r.Status != c.status || r.Out != "" {
			t.Errorf("status %d, want %d; standard output %q", r.Status, c.status, r.Out)
		}
		// The log comes before it.
		_, message, ok := strings.Cut("\n"+r.ErrOut, "\ninturn: ")
		if !ok || strings.Contains(r.ErrOut, "goroutine ") || strings.Contains(r.ErrOut, "panic") {
			t.Fatalf("no message for people: %s", r.ErrOut)
		}
		lines := strings.Split(strings.TrimSuffix(message, "\n"), "\n")
		if !regexp.MustCompile("^" + c.says + "$").MatchString(lines[0]) {
			t.Errorf("says   %s\nwant   %s", lines[0], c.says)
		}
		hint := ""
		if len(lines) > 1 {
			hint = strings.TrimPrefix(lines[1], "hint: ")
		}
		if len(lines) > 2 || !regexp.MustCompile("^"+c.hint+"$").MatchString(hint) {
			t.Errorf("hints  %q\nwant   %q", lines[1:], c.hint)
		}
	})
}

// TestServeWarnsOfSettings: what is set and can't be meant is in the log before `ready`.
func TestServeWarnsOfSettings(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), []string{"INTURN_TOKEN=abc", "INTURN_BACKLOG=5"})
	for _, want := range []string{"INTURN_TOKEN has fewer than 16 characters and can be guessed; make one: openssl rand -hex 16", `"names":["INTURN_BACKLOG"]`} {
		if !strings.Contains(s.Logged(), want) {
			t.Errorf("the log lacks %s:\n%s", want, s.Logged())
		}
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().String()
	for _, c := range []refused{
		{name: "beyond loopback without tokens", args: []string{"serve", "--listen", "0.0.0.0:0"}, status: 1,
			says: `serve: 0\.0\.0\.0:0 is not loopback, and there are no tokens: .+`, hint: `set INTURN_TOKEN or --token-file, .+--insecure-no-auth`},
		{name: "on all addresses without tokens", args: []string{"serve", "--listen", ":0"}, status: 1, says: `serve: :0 is not loopback.+`, hint: `.+--insecure-no-auth`},
		{name: "no token file", args: []string{"serve", "--token-file", "none.json"}, status: 1, says: `serve: token file none\.json: no such file or directory`, hint: `.*inturn token new NAME --token-file none\.json`},
		{name: "a token that no header can carry", env: []string{"INTURN_TOKEN=two words"}, args: []string{"serve"}, status: 1, says: `serve: INTURN_TOKEN: must be visible ASCII characters.+`},
		{name: "a token that can be guessed, beyond loopback", env: []string{"INTURN_TOKEN=abcde"}, args: []string{"serve", "--listen", "0.0.0.0:0"}, status: 1,
			says: `serve: INTURN_TOKEN has 5 characters: anybody who reaches 0\.0\.0\.0:0 can guess it`, hint: `make one: openssl rand -hex 16`},
		{name: "a setting with a slip in its name", env: []string{"INTURN_RETENTOIN=720h"}, args: []string{"serve"}, status: 2,
			says: `serve: the environment has INTURN_RETENTOIN, which is no setting: did you mean INTURN_RETENTION\?`, hint: "see `inturn serve --help`"},
		{name: "the port is taken", args: []string{"serve", "--listen", at}, status: 1, says: `serve: listen on ` + at + `: bind: address already in use`, hint: `.*--listen.*`},
		{name: "the admin port is taken", args: []string{"serve", "--admin", at}, status: 1, says: `serve: admin: listen on ` + at + `: .*address already in use`, hint: `.*--admin.*`},
		{name: "an address that is not here", args: []string{"serve", "--listen", "192.0.2.1:0", "--insecure-no-auth"}, status: 1, says: `serve: listen on 192\.0\.2\.1:0: bind: cannot assign requested address`, hint: `.*--listen`},
		{name: "a folder that can't be made", args: []string{"serve", "--db", "/proc/none/inturn.db"}, status: 1, says: `serve: open /proc/none/inturn\.db: make folder: .+`, hint: `.*--db.*`},
		{name: "a name that ends as a folder's", args: []string{"serve", "--db", "new/"}, status: 2, says: `serve: --db new/ names a folder: name a file in it, such as new/inturn\.db`, hint: "see `inturn serve --help`"},
		{name: "a device in place of the file", args: []string{"serve", "--db", "/dev/null"}, status: 1, says: `serve: open /dev/null: it is not a regular file`},
		{name: "a folder in place of the file", args: []string{"serve", "--db", "."}, status: 1, says: `serve: open \.: .+`, hint: `that is a folder: .+inturn\.db.+--db.+`},

		{name: "no such flag", args: []string{"serve", "--bogus"}, status: 2, says: `serve: unknown flag --bogus`, hint: "see `inturn serve --help`"},
		{name: "an argument too many", args: []string{"serve", "now"}, status: 2, says: `serve: unexpected argument now`, hint: "see `inturn serve --help`"},
		{name: "no address", args: []string{"serve", "--listen", "nowhere"}, status: 2, says: `serve: --listen "nowhere" is no address: missing port in address`, hint: `.*127\.0\.0\.1:8443.*`},
		{name: "a port that is none", args: []string{"serve", "--admin", "localhost:70000"}, status: 2, says: `serve: --admin "localhost:70000" is no address: .+`, hint: `.+`},
		{name: "no file", args: []string{"serve", "--db", ""}, status: 2, says: `serve: --db names no file`, hint: "see `inturn serve --help`"},
		{name: "a name that is none", args: []string{"serve", "--domain", "a b"}, status: 2, says: `serve: domain "a b": must be .+`, hint: "see `inturn serve --help`"},
		{name: "a mode that is none", args: []string{"serve", "--tls", "maybe"}, status: 2, says: `.*--tls must be one of.*`, hint: "see `inturn serve --help`"},
		{name: "a number that is too small", args: []string{"serve", "--slice", "0"}, status: 2, says: `serve: --slice must be at least 1`, hint: "see `inturn serve --help`"},
		{name: "a size that is none", args: []string{"serve", "--max-event", "big"}, status: 2, says: `serve: --max-event: "big" is not a size.+`, hint: "see `inturn serve --help`"},
		{name: "a setting that is wrong", env: []string{"INTURN_SLICE=many"}, args: []string{"serve"}, status: 2, says: `.*slice.*many.*`, hint: "see `inturn serve --help`"},
	} {
		c.run(t, t.TempDir())
	}
}

// Every file that is not ours, or not any more, is named as what it is and left alone.
func TestFilesThatAreNotOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noise := []byte(strings.Repeat("this is no database, whatever its name. ", 400))
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("noise.db", noise)
	write("foreign.db", nil)
	execSQL(t, filepath.Join(dir, "foreign.db"), `CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)`)

	s := program.Serve(t, dir, nil, "--db", "newer.db")
	for range 3 {
		s.Post(t, chat("a", "1", strings.Repeat("x", 10_000)), "-H", wait)
	}
	s.Stop(t)
	sound, err := os.ReadFile(filepath.Join(dir, "newer.db"))
	if err != nil {
		t.Fatal(err)
	}
	// Every page but the first, so that it is still found to be a database.
	damaged := append([]byte{}, sound...)
	for i := 4096; i < len(damaged); i++ {
		damaged[i] ^= 0x55
	}
	write("damaged.db", damaged)
	write("cut.db", sound[:len(sound)/2])
	execSQL(t, filepath.Join(dir, "newer.db"), `PRAGMA user_version = 99`)

	damage := "keep a copy of the file .+`inturn check --db .+`.+"
	for _, c := range []refused{
		{name: "noise", args: []string{"--db", "noise.db"}, says: `open noise\.db: the database file is damaged: .+`, hint: damage},
		{name: "damaged", args: []string{"--db", "damaged.db"}, says: `open damaged\.db: the database file is damaged: .+`, hint: damage},
		{name: "cut", args: []string{"--db", "cut.db"}, says: `open cut\.db: the database file is damaged: .+`, hint: damage},
		{name: "of another program", args: []string{"--db", "foreign.db"}, says: `open foreign\.db: the file is a database of another program`, hint: `.*--db.*`},
		{name: "newer", args: []string{"--db", "newer.db"}, says: `open newer\.db: the file was written by a newer version of inturn.+`, hint: `.*newer.*`},
	} {
		name := filepath.Join(dir, c.args[1])
		before, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c.args, c.says, c.status = append([]string{"serve"}, c.args...), "serve: "+c.says, 1
		c.run(t, dir)
		after, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Errorf("%s: serve wrote to it", c.name)
		}
		check := program.Run(t, dir, nil, "check", "--db", c.args[2])
		status := 3 // it is no file that check can judge
		if c.name == "damaged" || c.name == "cut" {
			status = 1
		}
		if check.Status != status || strings.Contains(check.ErrOut, "goroutine ") || !strings.HasPrefix(check.ErrOut, "inturn: check: ") {
			t.Errorf("%s: check: %+v", c.name, check)
		}
		query := program.Run(t, dir, nil, "query", "--db", c.args[2], "SELECT * FROM events")
		if strings.Contains(query.ErrOut, "goroutine ") || query.Status == 1 && !strings.HasPrefix(query.ErrOut, "inturn: query: ") {
			t.Errorf("%s: query: %+v", c.name, query)
		}
	}
}

// execSQL changes a file as another program would.
func execSQL(t *testing.T, file, text string) {
	t.Helper()
	handle, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if _, err := handle.Exec(text); err != nil {
		t.Fatal(err)
	}
}

// An empty variable is one that isn't set: compose files can't leave one out.
func TestEmptySettingsAreNotSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := program.Run(t, dir, []string{"INTURN_EVENTS=", "INTURN_TYPE="}, "generate", "-", "--clients", "1")
	if r.Status != 0 || strings.Count(r.Out, "\n") != 10001 {
		t.Errorf("status %d, %d lines: %s", r.Status, strings.Count(r.Out, "\n"), r.ErrOut)
	}
}

// A server whose lock's file is removed ends, and blames no other inturn for it.
func TestRemovedLockIsSaid(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil)
	if err := os.Remove(filepath.Join(s.Dir, "data", "inturn.db.lock")); err != nil {
		t.Fatal(err)
	}
	if status := s.End(t); status != 1 {
		t.Errorf("exit status %d", status)
	}
	said := s.Logged()
	if !strings.Contains(said, "the lock's file was moved, removed or replaced") || !strings.Contains(said, "\nhint: start it again") || strings.Contains(said, "another inturn") {
		t.Errorf("it says\n%s", said)
	}
}
