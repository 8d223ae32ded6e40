package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"

	"inturn/db/sqlite/file"
	"inturn/functions"
	"inturn/internal/program"
	"inturn/logs"
)

// While the listener looks whether the port may be shut, no connection comes in: one that
// begins then is accepted afterwards, or finds the port closed and was never read.
func TestNobodyComesInBetween(t *testing.T) {
	for _, busy := range []bool{true, false} {
		t.Run(fmt.Sprint("busy ", busy), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := newIdleListener(l)
			in := make(chan net.Conn, 1)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					conn, err := g.Accept()
					if err != nil {
						return
					}
					in <- conn
				}
			}()
			var late net.Conn
			shut := g.shutIfIdle(0, func() bool {
				if late, err = net.Dial("tcp", l.Addr().String()); err != nil {
					t.Error(err)
					return true
				}
				select {
				case conn := <-in:
					t.Error("a connection came in during the look")
					conn.Close()
				case <-time.After(100 * time.Millisecond): // the kernel has let them in long ago
				}
				return busy
			})
			if late != nil {
				defer late.Close()
			}
			if t.Failed() {
				g.Close()
				<-ended
				return
			}
			if shut == busy {
				t.Fatalf("shut %t", shut)
			}
			if busy {
				conn := <-in
				if g.open != 1 || g.shutIfIdle(0, func() bool { return false }) {
					t.Error("the connection that came during the look is not open")
				}
				conn.Close()
			} else {
				late.SetReadDeadline(time.Now().Add(program.Patience))
				if _, err := late.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a connection that came too late ends with %v", err)
				}
				if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
					conn.Close()
					t.Error("the kernel answers at a port that is shut")
				}
				select {
				case <-ended:
					t.Error("Accept ended before the server was told to end")
				default:
				}
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			<-ended
			if len(in) != 0 || g.open != 0 || g.active != 0 {
				t.Errorf("%d connections more, %d open, %d active", len(in), g.open, g.active)
			}
		})
	}
}

// pipes is a listener without a network, for a bubble.
type pipes struct {
	came   chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.came:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// What keeps the process awake, and for how long.
func TestWhatKeepsAwake(t *testing.T) {
	const idle, look = 10 * time.Minute, 5 * time.Second
	connection := func(p *pipes, says string, lasts time.Duration) {
		ours, theirs := net.Pipe()
		p.came <- theirs
		if says != "" {
			io.WriteString(ours, says)
		}
		time.Sleep(lasts)
		ours.Close()
	}
	for _, c := range []struct {
		name string
		does func(p *pipes, g *idleListener, busy func(bool))
		ends time.Duration // at least, and at most two looks later
	}{
		{"nothing", func(*pipes, *idleListener, func(bool)) {}, idle},
		{"port checks", func(p *pipes, _ *idleListener, _ func(bool)) {
			for range 39 {
				connection(p, "", time.Second)
				time.Sleep(14 * time.Second)
			}
		}, idle},
		{"a port check that stays", func(p *pipes, _ *idleListener, _ func(bool)) { connection(p, "", idle+time.Minute) }, idle + time.Minute},
		{"a connection", func(p *pipes, _ *idleListener, _ func(bool)) {
			time.Sleep(5 * time.Minute)
			connection(p, "hello", 3*time.Minute)
		}, idle + 8*time.Minute},
		{"a request whose connection is gone", func(_ *pipes, g *idleListener, _ func(bool)) {
			g.requests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(7 * time.Minute) })).ServeHTTP(nil, nil)
		}, idle + 7*time.Minute},
		{"work", func(_ *pipes, _ *idleListener, busy func(bool)) {
			busy(true)
			time.Sleep(20 * time.Minute)
			busy(false)
		}, idle + 20*time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{came: make(chan net.Conn), closed: make(chan struct{})}
				g := newIdleListener(p)
				go func() {
					for {
						conn, err := g.Accept()
						if err != nil {
							return
						}
						go func() {
							io.Copy(io.Discard, conn)
							conn.Close()
						}()
					}
				}()
				var mu sync.Mutex
				working := false
				begin := time.Now()
				ended := make(chan time.Duration)
				go func() {
					if !g.wait(nil, idle, func() bool { mu.Lock(); defer mu.Unlock(); return working }) {
						t.Error("it was told to stop")
					}
					ended <- time.Since(begin)
				}()
				c.does(p, g, func(b bool) { mu.Lock(); defer mu.Unlock(); working = b })
				if took := <-ended; took < c.ends || took > c.ends+2*look {
					t.Errorf("it ends after %v, want %v", took, c.ends)
				}
				g.Close()
			})
		})
	}
}

// A stop ends the wait.
func TestUntilIdleStops(t *testing.T) {
	stopping := make(chan struct{})
	close(stopping)
	if newIdleListener(&pipes{}).wait(stopping, time.Hour, func() bool { return false }) {
		t.Error("the port is shut before the time")
	}
}

// A process with an account that waits for a person ends, also while its health is
// asked for; one with an account that is to be tried again ends after that.
func TestAsleep(t *testing.T) {
	t.Setenv("INTURN_TOKEN", "")
	type nothing struct{}
	parks := functions.New("parks", func(context.Context, functions.Event, nothing) (functions.Effect, error) {
		return nil, errors.New("no")
	}, functions.WithPolicy(functions.Policy{Attempts: 1}))
	again := functions.New("again", func(_ context.Context, ev functions.Event, _ nothing) (functions.Effect, error) {
		if ev.Attempt == 1 {
			return nil, functions.Retry(2*time.Second, errors.New("later")) // ten times longer than the process waits
		}
		return nil, nil
	})
	file := filepath.Join(t.TempDir(), "inturn.db")
	for _, c := range []struct {
		typ   string
		state db.State
	}{{"again", db.Done}, {"parks", db.Pending}} {
		p := serveHere(t, []functions.Function{parks, again}, "--db", file, "--exit-when-idle", "200ms")
		event := fmt.Sprintf(`{"client_id":%q,"message_id":"1","type":%q,"payload":{}}`, c.typ, c.typ)
		if status, body := p.ask(t, "POST", "/v1/events", event, nil); status != http.StatusAccepted {
			t.Fatalf("POST: %d %s", status, body)
		}
		asked := make(chan struct{})
		go func() { // as a platform does
			defer close(asked)
			for {
				resp, err := http.Get("http://" + p.Admin + "/readyz")
				if err != nil {
					return
				}
				resp.Body.Close()
				time.Sleep(10 * time.Millisecond)
			}
		}()
		p.client.CloseIdleConnections()
		select {
		case err := <-p.ended:
			if err != nil {
				t.Errorf("%s: serve returned %v", c.typ, err)
			}
		case <-time.After(program.Patience):
			t.Fatalf("%s: serve does not end:\n%s", c.typ, p.log)
		}
		<-asked
		http.DefaultClient.CloseIdleConnections()
		for _, line := range []string{"nothing to do; ending", "stopped"} {
			if !strings.Contains(p.log.String(), fmt.Sprintf(`"msg":%q`, line)) {
				t.Errorf("%s: the log lacks %q:\n%s", c.typ, line, p.log)
			}
		}
		if got := stateInFile(t, file, c.typ); got != c.state {
			t.Errorf("%s: it sleeps with the event %s, want %s", c.typ, got, c.state)
		}
	}
}

func stateInFile(t *testing.T, path, clientID string) db.State {
	t.Helper()
	file, err := file.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var state string
	if err := file.QueryRow(`SELECT state FROM events WHERE client_id = ?`, clientID).Scan(&state); err != nil {
		t.Fatal(err)
	}
	return db.State(state)
}

// An end that takes too long is cut short, also where nothing reads the log: in a process
// of its own, because it ends it.
func TestWatchdog(t *testing.T) {
	if os.Getenv("WATCHDOG_OF_A_TEST") != "" {
		newWatchdog(logs.New(os.Stderr, slog.LevelInfo, false)).Reset(time.Millisecond)
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWatchdog$")
	cmd.Env = program.Env("WATCHDOG_OF_A_TEST=1")
	if r := program.RunCommand(t, cmd); r.Status != 70 || !strings.Contains(r.ErrOut, "ending at once") {
		t.Errorf("%+v", r)
	}
	unread := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWatchdog$")
	unread.Env, unread.Stderr = cmd.Env, fullPipe(t)
	if err := unread.Start(); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, unread); unread.ProcessState.ExitCode() != 70 {
		t.Errorf("where nothing reads the log: %v", err)
	}
}
