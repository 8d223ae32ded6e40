package proofs

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

// TestFaultRealFullDisk fills a real file system under the real server: clients are
// told before it is full, what was accepted is settled, reads are served, and with
// room again it goes on by itself.
func TestFaultRealFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	p := start(t, dir)
	url, admin, c := p.ready(), p.admin(), dial(t, dir)
	ctx := t.Context()

	// Accepted before: short work, so that some of it settles while there is little room.
	var accepted []event
	take := func(ev event) (answer, bool) {
		a, err := c.post(ctx, url, ev)
		if err != nil {
			t.Fatal(err)
		}
		if a.taken() {
			ev.seq = a.Seq
			accepted = append(accepted, ev)
		}
		return a, a.taken()
	}
	for n := range 20 {
		if _, ok := take(workEvent("early", n, 100*time.Millisecond)); !ok {
			t.Fatal("refused with room")
		}
	}
	fill(t, dir, 3<<20) // what is left is the reserve and a little more

	var refused answer
	text := strings.Repeat("x", 4000)
	for n := 0; refused.Status == 0; n++ {
		if n == 5000 {
			t.Fatal("never refused")
		}
		ev := workEvent(fmt.Sprint("c", n%8), n, time.Millisecond)
		ev.payload = fmt.Sprintf(`{"ms":1,"n":%d,"text":%q}`, n, text)
		if a, ok := take(ev); !ok {
			refused = a
		}
	}
	if refused.Status != http.StatusServiceUnavailable || refused.problem() != "storage-full" || refused.RetryAfter == 0 {
		t.Errorf("refused with %+v", refused)
	}
	if free(t, dir) == 0 {
		t.Error("nothing is left for what was accepted")
	}
	if a, err := c.get(ctx, admin+"/readyz"); err != nil || a.Status != http.StatusServiceUnavailable || a.problem() != "storage-full" {
		t.Errorf("readyz: %+v, %v", a, err)
	}
	if a, err := c.get(ctx, url+"/v1/events/early/w0"); err != nil || a.Status != http.StatusOK || a.Seq != accepted[0].seq {
		t.Errorf("a read: %+v, %v", a, err)
	}
	eventually(t, "the settling of what was accepted", func() bool { return pendingEvents(t, dir) == 0 })

	// Nothing at all is left. What is still taken has found a place and must be there.
	fill(t, dir, 0)
	n := 0
	eventually(t, "a refusal on the full disk", func() bool {
		n++
		a, ok := take(workEvent("full", n, time.Millisecond))
		if !ok && a.problem() != "storage-full" {
			t.Errorf("an append on a full disk: %+v", a)
		}
		return !ok
	})

	// A start finds a disk that others have filled to the last byte, and works.
	p.signal(15)
	if status := p.ends(); status != 0 {
		t.Errorf("exit status %d on the full disk:\n%s", status, p.log())
	}
	full, again := strings.Count(p.log(), "the disk is full: events are refused"), strings.Count(p.log(), "there is room on the disk again")
	if full != again+1 {
		t.Errorf("the log says %d times that the disk is full, and %d times that there is room:\n%s", full, again, p.log())
	}
	fill(t, dir, 0)
	p = start(t, dir)
	url, admin = p.ready(), p.admin()
	if a, err := c.get(ctx, url+"/v1/events/early/w0"); err != nil || a.Status != http.StatusOK || a.Seq != accepted[0].seq {
		t.Errorf("a read after a start on the full disk: %+v, %v", a, err)
	}
	began := time.Now()
	if out, err := inturn(t, "pause", "work", "--url", url, "--cacert", filepath.Join(dir, "tls", "ca.pem")); err != nil && !strings.Contains(out, "The disk is full") || time.Since(began) > 10*time.Second {
		t.Errorf("an operator is told after %v: %v\n%s", time.Since(began), err, out)
	}
	fill(t, dir, 0)

	copied := filepath.Join(dir, "copy.db")
	if out, err := inturn(t, "backup", copied, "--db", dbFile(dir)); err == nil || !strings.Contains(out, "the disk is full") {
		t.Errorf("a backup onto a full disk: %v\n%s", err, out)
	}
	if left, err := filepath.Glob(copied + "*"); err != nil || len(left) > 0 {
		t.Errorf("it has left %q, %v", left, err)
	}

	unfill(t, dir)
	eventually(t, "going on by itself", func() bool {
		a, ok := take(workEvent("late", 0, time.Millisecond))
		return ok || a.taken()
	})
	if a, err := c.get(ctx, admin+"/readyz"); err != nil || a.Status != http.StatusOK {
		t.Errorf("readyz with room: %+v, %v", a, err)
	}
	p.says("there is room on the disk again: events are taken")
	if out, err := inturn(t, "resume", "work", "--url", url, "--cacert", filepath.Join(dir, "tls", "ca.pem")); err != nil {
		t.Errorf("resume: %v\n%s", err, out)
	}
	eventually(t, "the settling of the rest", func() bool { return pendingEvents(t, dir) == 0 })
	p.signal(15)
	if status := p.ends(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, p.log())
	}
	if out, err := inturn(t, "check", "--db", dbFile(dir)); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
	for _, ev := range accepted {
		if got := seqOf(t, dir, ev); got != ev.seq {
			t.Errorf("%s %s was answered with seq %d and has %d", ev.client, ev.id, ev.seq, got)
		}
	}
}

// smallDisk mounts a file system of 64 MiB for the test.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	for _, tool := range []string{"mount", "umount", "mkfs.ext4"} {
		needTool(t, tool)
	}
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, disk).CombinedOutput(); err != nil {
		if needed() {
			t.Fatalf("mount: %v\n%s", err, out)
		}
		t.Skipf("a small disk can't be mounted here: %s", out)
	}
	unmount := sync.OnceFunc(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			exec.Command("umount", "-l", disk).Run()
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	t.Cleanup(unmount) // before that, the process that start runs is ended
	return disk
}

// free is how many bytes others than root could still write.
func free(t testing.TB, dir string) int64 { t.Helper(); return statfs(t, dir).free }

// fill leaves so many bytes beyond the reserve that the server keeps for settles; 0
// leaves nothing at all.
func fill(t testing.TB, dir string, leave int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "fill"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := statfs(t, dir)
	room := s.free
	if leave > 0 {
		room -= min(max(s.size/20, 32<<20), s.size/4) + leave
	}
	block := make([]byte, 64<<10)
	for ; room > 0; room -= int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			if leave > 0 {
				t.Fatal(err)
			}
			break
		}
	}
	for leave == 0 { // what is less than a block
		if _, err := f.Write(block[:512]); err != nil {
			break
		}
	}
	f.Sync()
}

func unfill(t testing.TB, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "fill")); err != nil {
		t.Fatal(err)
	}
}

func pendingEvents(t testing.TB, dir string) (n int) {
	t.Helper()
	one(t, dir, &n, "SELECT count(*) FROM pending")
	return n
}

func seqOf(t testing.TB, dir string, ev event) (seq int64) {
	t.Helper()
	one(t, dir, &seq, "SELECT coalesce((SELECT seq FROM outbox WHERE client_id = ? AND message_id = ?), 0)", ev.client, ev.id)
	return seq
}

func one(t testing.TB, dir string, to any, query string, args ...any) {
	t.Helper()
	file, err := file.OpenReadOnly(context.Background(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.QueryRow(query, args...).Scan(to); err != nil {
		t.Fatal(err)
	}
}
