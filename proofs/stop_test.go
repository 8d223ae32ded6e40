package proofs

import (
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStopUnderLoad ends the server in order again and again while senders send.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir)
	server.ready()
	f := newFleet(t, 1, dial(t, dir), 48, 16)
	for range 3 {
		stop := f.run(server.ready(), true)
		eventually(t, "the load", func() bool { return f.answered.Load() > 500 })
		server.stops()
		stop()
		t.Log(f)
		f.judge(t, snapshot(t, dir), false)
		server = start(t, dir)
	}
	stop := f.run(server.ready(), false)
	eventually(t, "the repeats", func() bool { return f.repeats.Load() == int64(len(f.senders)) })
	stop()
	drained(t, dir)
	server.stops()
	c := f.judge(t, dbFile(dir), true)
	for k, s := range c.events {
		if s.attempts != 1 {
			t.Errorf("%q took %d attempts, and nothing has failed", k, s.attempts)
		}
	}
}

// TestDrain: what runs when SIGTERM comes ends and is recorded; until then /readyz
// says no and new events are refused or find nobody.
func TestDrain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir)
	url, c := server.ready(), dial(t, dir)
	mustPost(t, c, url, workEvent("a", 0, 4*time.Second))
	mustPost(t, c, url, workEvent("a", 1, 0)) // its turn comes after the restart
	mustPost(t, c, url, workEvent("b", 0, 0), "Prefer", "wait=60")
	waiting := make(chan answer)
	go func() {
		a, err := c.post(context.Background(), url, workEvent("a", 0, 4*time.Second), "Prefer", "wait=60")
		if err != nil {
			t.Errorf("a request that waits for its result: %v", err)
		}
		waiting <- a
	}()
	eventually(t, "the waiting request", func() bool { return c.out.Load() == 1 })
	if status := readyz(t, server); status != http.StatusOK {
		t.Errorf("/readyz says %d before SIGTERM", status)
	}

	server.signal(syscall.SIGTERM)
	server.says("stopping")
	if status := readyz(t, server); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %d while draining", status)
	}
	if a := <-waiting; a.Status != http.StatusAccepted || a.State != "pending" {
		t.Errorf("who waits for a result is answered %d %q", a.Status, a.State)
	}
	if a, err := c.post(t.Context(), url, workEvent("c", 0, 0)); err == nil && (a.Status != 503 || a.RetryAfter == 0) {
		t.Errorf("a new event is answered %d", a.Status)
	}
	if status := server.ends(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	server.clean()
	file := read(t, dbFile(dir))
	if s := file.events[key("a", "w0")]; s.status != "done" || s.finished-s.started < 4e6 {
		t.Errorf("what was running is %q after %d µs", s.status, s.finished-s.started)
	}
	if s := file.events[key("a", "w1")]; !s.pending {
		t.Error("an event has begun while draining")
	}
	if len(file.events) != 3 {
		t.Errorf("the file has %d events", len(file.events))
	}
}

// TestCutShort: work that is longer than --drain is cancelled, is no attempt, and
// runs again after the start; also where its attempt was recorded before it began.
func TestCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	takes := 4 * time.Second
	server := start(t, dir)
	url := server.ready()
	mustPost(t, dial(t, dir), url, workEvent("a", 0, takes))
	server.crash()

	// After a crash the attempt is recorded first.
	server = start(t, dir, "--drain", "100ms")
	server.ready()
	eventually(t, "the recorded attempt", func() bool { return read(t, dbFile(dir)).events[key("a", "w0")].held })
	server.stops()
	wantUntouched(t, dir)

	server = start(t, dir, "--drain", "100ms")
	server.ready()
	server.stops()
	if !server.said("an attempt was cut short by the shutdown") && !server.said("stopped") {
		t.Errorf("nothing is said of what was cut short:\n%s", server.log())
	}
	wantUntouched(t, dir)

	server = start(t, dir)
	server.ready()
	drained(t, dir)
	server.stops()
	if s := read(t, dbFile(dir)).events[key("a", "w0")]; s.status != "done" || s.attempts != 1 || s.finished-s.started < takes.Microseconds() {
		t.Errorf("the event is %q after %d attempts and %d µs", s.status, s.attempts, s.finished-s.started)
	}
}

func wantUntouched(t *testing.T, dir string) {
	t.Helper()
	if s := read(t, dbFile(dir)).events[key("a", "w0")]; !s.pending || s.held {
		t.Errorf("pending %t, attempts counted %t", s.pending, s.held)
	}
}

// TestSecondSignal: a second signal ends the process at once, which is as safe as a crash.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir)
	server.ready()
	f := newFleet(t, 2, dial(t, dir), 32, 32)
	stop := f.run(server.ready(), true)
	eventually(t, "the load", func() bool { return f.working() > 0 })
	server.signal(syscall.SIGTERM)
	server.says("stopping")
	server.signal(syscall.SIGTERM)
	if status := server.ends(); status == 0 {
		t.Error("exit status 0 although work was left behind")
	}
	stop()
	server.clean()
	f.judge(t, snapshot(t, dir), false)

	server = start(t, dir)
	stop = f.run(server.ready(), false)
	eventually(t, "the repeats", func() bool { return f.repeats.Load() == int64(len(f.senders)) })
	stop()
	drained(t, dir)
	server.stops()
	f.judge(t, dbFile(dir), true)
}

// TestSignalAtStart: whenever SIGTERM comes, the end is one in order or one by that
// signal, nothing is said in panic, and the next start works.
func TestSignalAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir)
	server.ready()
	server.stops()
	for i := range 12 {
		server := start(t, dir)
		if i%3 == 0 {
			server.ready() // the first moment at which the end must be one in order
		} else {
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		}
		server.signal(syscall.SIGTERM)
		status := server.ends()
		bySignal := server.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		if status != 0 && (i%3 == 0 || !bySignal) {
			t.Errorf("exit status %d:\n%s", status, server.log())
		}
		server.clean()
	}
	server = start(t, dir)
	server.ready()
	server.stops()
}

func mustPost(t testing.TB, c *client, url string, ev event, header ...string) answer {
	t.Helper()
	a, err := c.post(context.Background(), url, ev, header...)
	if err != nil || !a.taken() {
		t.Fatalf("%s %s: %d %s, %v", ev.client, ev.id, a.Status, a.Detail, err)
	}
	return a
}

func readyz(t testing.TB, p *process) int {
	t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(p.admin() + "/readyz")
	if err != nil {
		t.Errorf("readyz: %v", err)
		return 0
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "status") {
		t.Errorf("readyz: %q, %v", body, err)
	}
	return resp.StatusCode
}
