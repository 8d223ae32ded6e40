package proofs

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestBackupUnderLoad makes copies of a server's file, one after the other, while
// many senders send. Each, restored, passes `check`, has everything that was answered
// before it began, and is a file on which a server goes on.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	rounds := 2
	if thorough() {
		rounds = 4
	}
	if long() {
		rounds = 20
	}
	dir, copies := t.TempDir(), t.TempDir()
	server := start(t, dir)
	server.ready()
	f := newFleet(t, 6, dial(t, dir), 96, 32)
	f.keeps = true
	stop := f.run(server.ready(), false)
	eventually(t, "the load", func() bool { return f.answered.Load() > 500 && f.working() > 0 })
	var last string
	meanwhile := int64(0)
	for n := range rounds {
		known, before := f.known(), f.answered.Load()
		began := time.Now()
		copied := filepath.Join(copies, fmt.Sprintf("%d.db", n))
		if out, err := inturn(t, "backup", copied, "--db", dbFile(dir)); err != nil {
			t.Fatalf("inturn backup: %v\n%s", err, out)
		}
		took := time.Since(began)
		t.Logf("copy %d: %d events were answered before it, %d meanwhile, in %v; the WAL has %d KiB", n, len(known), f.answered.Load()-before, took.Round(time.Millisecond), size(dbFile(dir)+"-wal")>>10)
		meanwhile += f.answered.Load() - before
		last = filepath.Join(copies, fmt.Sprint("restored", n))
		if out, err := inturn(t, "restore", copied, "--db", dbFile(last)); err != nil {
			t.Fatalf("inturn restore: %v\n%s", err, out)
		}
		if out, err := inturn(t, "check", "--db", dbFile(last)); err != nil {
			t.Errorf("inturn check: %v\n%s", err, out)
		}
		contains(t, read(t, dbFile(last)), known)
		if left, err := filepath.Glob(filepath.Join(copies, "*.part")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	}
	if meanwhile == 0 {
		t.Error("nothing was answered while copies were made")
	}
	stop()
	server.crash()
	t.Log(f)

	// The senders send what they know again to a server on the last copy, each account
	// in order, as after the loss of a disk.
	restored := start(t, last)
	url, c := restored.ready(), dial(t, last)
	file := read(t, dbFile(last))
	for _, s := range f.senders[:8] {
		for _, ev := range s.sent {
			a := mustPost(t, c, url, ev)
			if was, there := file.events[key(ev.client, ev.id)]; there != a.Duplicate || there && was.seq != a.Seq {
				t.Errorf("%s %s is answered with seq %d, duplicate %t; in the copy: %t, seq %d", ev.client, ev.id, a.Seq, a.Duplicate, there, was.seq)
			}
		}
	}
	restored.crash()
	if out, err := inturn(t, "check", "--db", dbFile(last)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
}

func contains(t *testing.T, c contents, known []event) {
	t.Helper()
	missing := 0
	for _, ev := range known {
		if s := c.events[key(ev.client, ev.id)]; s.seq != ev.seq {
			if missing++; missing < 10 {
				t.Errorf("%s %s was answered with seq %d before the copy began, and has %d in it", ev.client, ev.id, ev.seq, s.seq)
			}
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d answered events are not in the copy", missing, len(known))
	}
}

// TestRestoreUnderAStoppedProcess: a process that is stopped while its file is
// replaced by a backup writes nothing when it goes on, and takes nothing away from the
// one that has the restored file.
func TestRestoreUnderAStoppedProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, f := stoppedWithWrites(t, dir)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if out, err := inturn(t, "backup", backup, "--db", dbFile(dir)); err != nil {
		t.Fatalf("inturn backup: %v\n%s", err, out)
	}
	if out, err := inturn(t, "restore", backup, "--db", filepath.Join(t.TempDir(), "other.db")); err != nil {
		t.Fatalf("inturn restore: %v\n%s", err, out)
	}
	// What the command does after 15 s of standstill.
	if err := os.Remove(dbFile(dir) + ".lock"); err != nil {
		t.Fatal(err)
	}
	if out, err := inturn(t, "restore", "--force", backup, "--db", dbFile(dir)); err != nil {
		t.Fatalf("inturn restore: %v\n%s", err, out)
	}
	second := start(t, dir)
	url := second.ready()
	mustPost(t, dial(t, dir), url, workEvent("after", 0, 0), "Prefer", "wait=60")
	f.afterRestore(t, first, second)
}

// afterRestore is afterTakeover of a file that was replaced.
func (f *fenced) afterRestore(t *testing.T, first, second *process) {
	t.Helper()
	drained(t, second.dir)
	before := mark(t, second.dir)
	first.signal(syscall.SIGCONT)
	if status := first.ends(); status != 1 {
		t.Errorf("exit status %d of the process that has lost the file:\n%s", status, first.log())
	}
	if err := <-f.queued; err != nil {
		t.Error(err)
	}
	if after := mark(t, second.dir); after != before {
		t.Fatalf("the process that has lost the file has written: %q, before %q", after, before)
	}
	// Nor has it, when it closed its own, removed the WAL that stands at its path now.
	c := dial(t, second.dir)
	a := mustPost(t, c, second.ready(), workEvent("after", 1, 0))
	second.crash()
	third := start(t, second.dir)
	if again := mustPost(t, c, third.ready(), workEvent("after", 1, 0)); !again.Duplicate || again.Seq != a.Seq {
		t.Errorf("what was answered before the crash with seq %d is answered %+v", a.Seq, again)
	}
	third.stops()
	if out, err := inturn(t, "check", "--db", dbFile(second.dir)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
}
