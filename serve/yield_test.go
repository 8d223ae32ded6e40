package serve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
)

// Connections that are kept open, or never finish their request, do not shut health out,
// and the one that gives way is the one that has been idle longest.
func TestHealthIsAnsweredWhateverElseIsOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string
		answered   bool
	}{
		{"kept alive", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", true},
		{"nothing said", "", false},
		{"half a request", "GET /healthz HTTP/1.1\r\nHost:", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := program.Serve(t, t.TempDir(), nil)
			var crowd []net.Conn
			for range sideConnections + 20 {
				conn, err := net.Dial("tcp", s.Admin)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				conn.SetDeadline(time.Now().Add(program.Patience))
				if _, err := io.WriteString(conn, c.says); err != nil {
					t.Fatal(err)
				}
				if c.answered {
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
				}
				crowd = append(crowd, conn)
			}
			begin := time.Now()
			for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
				if a := program.Curl(t, "http://"+s.Admin+path); a.Status != 200 {
					t.Errorf("%s: %d %s", path, a.Status, a.Body)
				}
			}
			if took := time.Since(begin); took > sideIdle/2 {
				t.Errorf("health is answered after %v", took)
			}
			// The first to come are the ones that gave way.
			if _, err := crowd[0].Read(make([]byte, 1)); err == nil {
				t.Error("the connection that was idle longest is kept")
			}
		})
	}
}

// Idle connections give way first, the oldest of them before all.
func TestWhoGivesWay(t *testing.T) {
	l := newYieldListener(&pipes{came: make(chan net.Conn, 10), closed: make(chan struct{})}, 3)
	came := l.Listener.(*pipes).came
	accept := func() *yieldConn {
		t.Helper()
		_, theirs := net.Pipe()
		came <- theirs
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c.(*yieldConn)
	}
	a, b, c := accept(), accept(), accept()
	begin := time.Now()
	for i, conn := range []*yieldConn{a, b, c} {
		l.connState(conn, http.StateActive)
		conn.since = begin.Add(time.Duration(i) * time.Second)
	}
	l.connState(b, http.StateIdle)
	b.since = begin.Add(time.Hour)
	open := func() string {
		names := ""
		for _, conn := range []struct {
			name string
			conn *yieldConn
		}{{"a", a}, {"b", b}, {"c", c}} {
			if _, ok := l.open[conn.conn]; ok {
				names += conn.name
			}
		}
		return names
	}
	d := accept()
	if open() != "ac" {
		t.Errorf("open are %s: the idle one is to give way", open())
	}
	l.connState(d, http.StateActive)
	accept()
	if open() != "c" {
		t.Errorf("open are %s: the one with the oldest request is to give way", open())
	}
	c.Close()
	if open() != "" {
		t.Errorf("open are %s", open())
	}
}

func TestConnectionsFitTheLimitOfOpenFiles(t *testing.T) {
	for _, c := range []struct {
		limit, used int
		config      Config
		want        connections
	}{
		{1 << 20, 30, Config{MaxConnections: 10_000}, connections{10_000, sideConnections}},
		{1 << 20, 30, Config{}, connections{10_000, sideConnections}},
		{1024, 30, Config{MaxConnections: 10_000}, connections{1024 - 30 - spareFiles - 66, 64}},
		{1024, 30, Config{MaxConnections: 10_000, TLSConfig: TLSConfig{HTTPListen: ":80"}, Function: []string{"a", "b"}, FunctionMaxConcurrent: 64}, connections{1024 - 30 - spareFiles - 132 - 128, 64}},
		{1024, 30, Config{MaxConnections: 100}, connections{100, 64}},
		{64, 20, Config{MaxConnections: 100}, connections{6, 4}},
		{64, 25, Config{MaxConnections: 100}, connections{}},
	} {
		got, err := c.config.share(c.limit, c.used)
		if got != c.want || (err != nil) != (c.want == connections{}) {
			t.Errorf("%d open files, %d in use, %+v: %+v, %v; want %+v", c.limit, c.used, c.config, got, err, c.want)
		}
	}
}

// With few open files there are fewer connections, and health has its own.
func TestFewOpenFiles(t *testing.T) {
	t.Parallel()
	limited := func(limit int) *exec.Cmd {
		cmd := exec.Command("bash", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" serve`, limit), program.Path(t))
		cmd.Dir, cmd.Env = t.TempDir(), program.Env("INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0")
		return cmd
	}
	s := program.Launch(t, limited(96))
	if s.Line(`"level":"WARN"`, "fewer connections than --max-connections", `"open_files":96`, `"max_connections":10000`) == "" {
		t.Error("it does not say that there are fewer connections")
	}
	for range 100 { // more than there are files
		conn, err := net.Dial("tcp", s.Listen)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if a := program.Curl(t, "http://"+s.Admin+"/readyz"); a.Status != 200 {
		t.Errorf("readyz: %d %s", a.Status, a.Body)
	}
	if r := program.Run(t, s.Dir, []string{"INTURN_ADMIN=" + s.Admin}, "health"); r.Status != 0 {
		t.Errorf("health: %+v", r)
	}
	s.Stop(t)
	wantCheck(t, s.Dir)
	if strings.Contains(s.Logged(), "too many open files") {
		t.Error("it ran out of files")
	}

	r := program.RunCommand(t, limited(40))
	if r.Status != 1 || !strings.Contains(r.ErrOut, "inturn: serve: the limit of 40 open files leaves none for clients\nhint: raise it") {
		t.Errorf("with next to none: %+v", r)
	}
}
