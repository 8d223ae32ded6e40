package proofs

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

const (
	waitsForFile = "another process has the database; standing by until it ends"
	takesPlace   = "the holder's beat stands still; taking its place"
	waitsForLock = "another connection holds the database's write lock; waiting for it"
)

// pid is how a process is named to others.
func (p *process) pid() string { return fmt.Sprintf("process %d ", p.cmd.Process.Pid) }

// wantWaiting wants second to say that first has the file, and to take nothing.
func wantWaiting(t *testing.T, second, first *process) {
	t.Helper()
	if l := second.says(waitsForFile, "ready"); l.Msg == waitsForFile && !strings.HasPrefix(l.Holder, first.pid()) {
		t.Errorf("the second process says that %q has the file, and %q has it", l.Holder, first.pid())
	}
	if second.said("ready") {
		t.Fatal("two processes are ready on one file")
	}
}

// TestSecondAfterCrash: a process that waits for the file takes over when its holder dies.
func TestSecondAfterCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir)
	first.ready()
	f := newFleet(t, 3, dial(t, dir), 16, 16)
	stop := f.run(first.ready(), false)
	second := start(t, dir)
	wantWaiting(t, second, first)
	eventually(t, "the load", func() bool { return f.working() > 0 })
	first.crash()
	url := second.ready()
	f.url.Store(&url)
	if second.said(takesPlace) {
		t.Error("the second process has waited for the beat of a dead one")
	}
	eventually(t, "the load on the second process", func() bool { return f.answered.Load() > 500 })
	stop()
	drained(t, dir)
	second.stops()
	f.judge(t, dbFile(dir), true)
}

// TestFence: a process that was stopped and has lost the file meanwhile writes
// nothing when it goes on, also what it was about to write, and ends with exit 1.
func TestFence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, f := stoppedWithWrites(t, dir)
	// What a second process does that has seen the beat stand still.
	if err := os.Remove(dbFile(dir) + ".lock"); err != nil {
		t.Fatal(err)
	}
	second := start(t, dir)
	second.ready()
	f.afterTakeover(t, first, second)
}

// TestStandstill: the same, with a second process that finds out by itself.
func TestStandstill(t *testing.T) {
	needThorough(t) // it takes 15 s until a beat stands still
	t.Parallel()
	dir := t.TempDir()
	first, f := stoppedWithWrites(t, dir)
	second := start(t, dir)
	wantWaiting(t, second, first)
	if l := second.says(takesPlace); !strings.HasPrefix(l.Holder, first.pid()) {
		t.Errorf("the second process takes the place of %q, not of %q", l.Holder, first.pid())
	}
	second.ready()
	f.afterTakeover(t, first, second)
}

// TestBriefStop: a process that was stopped for less than a beat may stand still has
// lost nothing; and a process that waits for the file can be stopped.
func TestBriefStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir)
	url, c := first.ready(), dial(t, dir)
	mustPost(t, c, url, workEvent("a", 0, 200*time.Millisecond))
	first.stop()
	second, third := start(t, dir), start(t, dir)
	wantWaiting(t, second, first)
	wantWaiting(t, third, first)
	third.stops()
	first.signal(syscall.SIGCONT)
	mustPost(t, c, url, workEvent("a", 1, 0), "Prefer", "wait=60")
	if second.said(takesPlace) || second.said("ready") {
		t.Errorf("the second process has not waited:\n%s", second.log())
	}
	first.stops()
	second.ready()
	if a := mustPost(t, c, second.ready(), workEvent("a", 1, 0)); !a.Duplicate || a.State != "done" {
		t.Errorf("a repeat is answered %+v", a)
	}
	second.stops()
}

// TestEpochIsTheFence: a process that runs and beats writes nothing from the commit on
// by which another one has taken the file, also what it has queued before.
func TestEpochIsTheFence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir)
	url, c := first.ready(), dial(t, dir)
	mustPost(t, c, url, workEvent("running", 0, 500*time.Millisecond))
	person := holdLock(t, dir)
	queued := make(chan answer, 1)
	go func() {
		a, _ := c.post(context.Background(), url, workEvent("queued", 0, 0))
		queued <- a
	}()
	first.says(waitsForLock)
	person.release("UPDATE owner SET epoch = epoch + 1;")
	if a := <-queued; a.taken() {
		t.Fatalf("an append to a process that has lost the file is answered %d", a.Status)
	}
	wantFenced(t, first)
	file := read(t, dbFile(dir))
	if s := file.events[key("running", "w0")]; len(file.events) != 1 || !s.pending {
		t.Errorf("the process that has lost the file has written: %+v", file.events)
	}
}

// wantFenced waits for the end of a process that has lost the file.
func wantFenced(t *testing.T, p *process) {
	t.Helper()
	if status := p.ends(); status != 1 {
		t.Errorf("exit status %d of the process that has lost the file:\n%s", status, p.log())
	}
	if log := p.log(); !strings.Contains(log, "inturn: serve: another process owns the database") || strings.Contains(log, "goroutine ") {
		t.Errorf("the process that has lost the file says:\n%s", log)
	}
}

// fenced is what waits in a stopped process.
type fenced struct {
	client *client
	epoch  int64      // under which it owned the file
	queued chan error // of the append that was queued when the process was stopped
}

// stoppedWithWrites returns a process that is stopped in the middle of a write
// (another connection had the write lock until then), with work that will end.
func stoppedWithWrites(t *testing.T, dir string) (*process, *fenced) {
	t.Helper()
	first := start(t, dir)
	url := first.ready()
	f := &fenced{client: dial(t, dir), queued: make(chan error, 1)}
	mustPost(t, f.client, url, workEvent("before", 0, 0), "Prefer", "wait=60")
	mustPost(t, f.client, url, workEvent("running", 0, time.Second))
	mustPost(t, f.client, url, workEvent("running", 1, 0))
	f.epoch = read(t, dbFile(dir)).epoch
	person := holdLock(t, dir)
	go func() {
		a, err := f.client.post(context.Background(), url, workEvent("queued", 0, 0))
		if err == nil && a.taken() {
			err = fmt.Errorf("an append to a process that has lost the file is answered %d", a.Status)
		} else {
			err = nil
		}
		f.queued <- err
	}()
	first.says(waitsForLock)
	// Had it got the write lock, it would keep it as long as it stands still, and nobody
	// could take the file over.
	first.stop()
	person.release("")
	return first, f
}

// afterTakeover lets the first process go on and wants nothing of it but its end.
func (f *fenced) afterTakeover(t *testing.T, first, second *process) {
	t.Helper()
	drained(t, second.dir)
	if epoch := read(t, dbFile(second.dir)).epoch; epoch <= f.epoch {
		t.Errorf("the second process has epoch %d, the first %d", epoch, f.epoch)
	}
	before := mark(t, second.dir)
	first.signal(syscall.SIGCONT)
	wantFenced(t, first)
	if err := <-f.queued; err != nil {
		t.Error(err)
	}
	if after := mark(t, second.dir); after != before {
		t.Fatalf("the process that has lost the file has written: %q, before %q", after, before)
	}
	// The second one has all that it needs.
	c := dial(t, second.dir)
	url := second.ready()
	if a := mustPost(t, c, url, workEvent("before", 0, 0)); !a.Duplicate || a.State != "done" {
		t.Errorf("a repeat is answered %+v", a)
	}
	if a := mustPost(t, c, url, workEvent("queued", 0, 0), "Prefer", "wait=60"); a.Duplicate || a.State != "done" {
		t.Errorf("what the first process has refused is answered %+v", a)
	}
	second.stops()
	if out, err := inturn(t, "check", "--db", dbFile(second.dir)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
}

// mark sums up the content and the owner of the file.
func mark(t testing.TB, dir string) (sum string) {
	t.Helper()
	file, err := file.OpenReadOnly(t.Context(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	err = file.QueryRow(`
		SELECT (SELECT printf('epoch %d, next %d and %d', epoch, next_seq, next_settled) FROM owner) || ', events ' ||
		  (SELECT group_concat(client_id || ' ' || message_id || ' ' || state || ' ' || coalesce(finished, ''), ', ') FROM (SELECT * FROM events ORDER BY seq))`).Scan(&sum)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestRollingStart replaces a process by the next one again and again under load.
func TestRollingStart(t *testing.T) {
	t.Parallel()
	rounds := 1
	if thorough() {
		rounds = 5
	}
	if long() {
		rounds = 20
	}
	dir := t.TempDir()
	server := start(t, dir)
	server.ready()
	f := newFleet(t, 4, dial(t, dir), 24, 8)
	f.pause = 5 * time.Millisecond
	stop := f.run(server.ready(), false)
	for range rounds {
		next := start(t, dir)
		wantWaiting(t, next, server)
		begin := f.answered.Load()
		eventually(t, "the load", func() bool { return f.answered.Load() > begin+200 })
		server.stops()
		server = next
		url := server.ready()
		f.url.Store(&url)
	}
	begin := f.answered.Load()
	eventually(t, "the load", func() bool { return f.answered.Load() > begin+200 })
	stop()
	t.Log(f)
	drained(t, dir)
	server.stops()
	c := f.judge(t, dbFile(dir), true)
	for k, s := range c.events {
		if s.attempts != 1 {
			t.Errorf("%q took %d attempts, and nothing has failed", k, s.attempts)
		}
	}
}

// TestPersonHoldsLock: a person who holds BEGIN IMMEDIATE in sqlite3 delays, and
// breaks nothing.
func TestPersonHoldsLock(t *testing.T) {
	needTool(t, "sqlite3")
	t.Parallel()
	holds := 5 * time.Second
	if long() {
		holds = time.Minute
	}
	dir := t.TempDir()
	server := start(t, dir)
	url, c := server.ready(), dial(t, dir)
	mustPost(t, c, url, messageEvent("reader", 0, 1), "Prefer", "wait=60")
	mustPost(t, c, url, workEvent("worker", 0, time.Second))
	mustPost(t, c, url, workEvent("worker", 1, 0))
	f := newFleet(t, 5, dial(t, dir), 16, 0)

	person := holdLock(t, dir)
	over := time.After(holds)
	stop := f.run(url, false)
	held, cancel := context.WithTimeout(t.Context(), holds)
	defer cancel()
	if a, err := c.post(held, url, workEvent("refused", 0, 0)); err != nil || a.Status != 503 || a.RetryAfter == 0 || a.problem() != "storage-locked" {
		t.Errorf("an append is answered %d %s, Retry-After %d, %v", a.Status, a.Type, a.RetryAfter, err)
	}
	for reading := true; reading; {
		select {
		case <-over:
			reading = false
		case <-time.After(100 * time.Millisecond):
		}
		for _, path := range []string{"/v1/events/reader/m0", "/v1/events?client_id=worker"} {
			if a, err := c.get(t.Context(), url+path); err != nil || a.Status != 200 {
				t.Errorf("%s is answered %d, %v", path, a.Status, err)
			}
		}
	}
	if n := f.answered.Load(); n != 0 {
		t.Errorf("%d appends were answered while nothing could be written", n)
	}
	if f.refused.Load() == 0 {
		t.Error("no append was refused")
	}
	person.release("")

	if a := mustPost(t, c, url, workEvent("worker", 0, time.Second), "Prefer", "wait=60"); !a.Duplicate || a.State != "done" {
		t.Errorf("what ran meanwhile is answered %+v", a)
	}
	eventually(t, "the load", func() bool { return f.answered.Load() > 200 })
	stop()
	t.Log(f)
	f.senders = append(f.senders, &sender{sent: []event{messageEvent("reader", 0, 1)}},
		&sender{sent: []event{workEvent("worker", 0, time.Second), workEvent("worker", 1, 0)}})
	drained(t, dir)
	server.stops()
	for k, s := range f.judge(t, dbFile(dir), true).events {
		if s.attempts != 1 {
			t.Errorf("%q took %d attempts, and nothing has failed", k, s.attempts)
		}
	}
}

// person has begun a write transaction beside a server, as in sqlite3.
// release runs some SQL in it and commits.
type person struct{ release func(sql string) }

// holdLock begins a transaction in sqlite3, or in the test's process where there is
// no sqlite3.
func holdLock(t testing.TB, dir string) person {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		return holdLockHere(t, dir)
	}
	cmd := exec.Command("sqlite3", dbFile(dir))
	cmd.SysProcAttr = endsWithParent()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	io.WriteString(in, ".timeout 60000\nBEGIN IMMEDIATE;\n.print held\n")
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("sqlite3 says %q, %v", line, err)
	}
	return person{func(sql string) {
		io.WriteString(in, sql+"\nCOMMIT;\n.quit\n")
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("sqlite3: %v", err)
		}
	}}
}

func holdLockHere(t testing.TB, dir string) person {
	t.Helper()
	pool, err := sql.Open("sqlite", "file:"+dbFile(dir)+"?_txlock=immediate&_busy_timeout=60000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	tx, err := pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return person{func(sql string) {
		_, err := tx.Exec(sql)
		if err = errors.Join(err, tx.Commit()); err != nil {
			t.Errorf("release the write lock: %v", err)
		}
		pool.Close()
	}}
}
