package proofs

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// beside is sqlite3 on a server's database.
type beside struct {
	in  io.WriteCloser
	out *bufio.Reader
	pid int
}

func openBeside(t *testing.T, dir string) *beside {
	t.Helper()
	cmd := exec.Command(needTool(t, "sqlite3"), dbFile(dir))
	cmd.SysProcAttr = endsWithParent()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return &beside{in, bufio.NewReader(out), cmd.Process.Pid}
}

// do runs SQL that returns no rows.
func (b *beside) do(t *testing.T, sql string) {
	t.Helper()
	fmt.Fprintf(b.in, ".timeout 60000\n%s\n.print done\n", sql)
	for {
		line, err := b.out.ReadString('\n')
		if err != nil {
			t.Fatalf("sqlite3: %v", err)
		}
		if line == "done\n" {
			return
		}
	}
}

func (b *beside) String() string { return fmt.Sprintf("process %d (sqlite3)", b.pid) }

// Who holds the write lock is named by the answer, readiness and the log, and readiness
// comes back without a write.
func TestHolderOfTheLockIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir)
	url, admin, c := server.ready(), server.admin(), dial(t, dir)
	mustPost(t, c, url, workEvent("a", 0, 0), "Prefer", "wait=60")
	person := openBeside(t, dir)
	person.do(t, "BEGIN IMMEDIATE;")

	a, err := c.post(t.Context(), url, workEvent("a", 1, 0))
	if err != nil || a.Status != 503 || a.problem() != "storage-locked" || a.RetryAfter == 0 || !strings.Contains(a.Detail, person.String()) {
		t.Errorf("an append is answered %+v, %v", a, err)
	}
	if a, err := c.get(t.Context(), admin+"/readyz"); err != nil || a.Status != 503 || a.problem() != "storage-locked" || !strings.Contains(a.Detail, person.String()) {
		t.Errorf("readyz: %+v, %v", a, err)
	}
	if out, err := inturn(t, "pause", "work", "--url", url, "--cacert", dir+"/tls/ca.pem"); err == nil || !strings.Contains(out, person.String()) {
		t.Errorf("an operator is told %v\n%s", err, out)
	}
	person.do(t, "ROLLBACK;")
	eventually(t, "readiness", func() bool {
		a, err := c.get(t.Context(), admin+"/readyz")
		return err == nil && a.Status == 200
	})
	server.says("the database's write lock is free again")
	if line := "waiting for it\",\"holder\":\"" + person.String(); strings.Count(server.log(), line) != 1 {
		t.Errorf("the log:\n%s", server.log())
	}
	if a := mustPost(t, c, url, workEvent("a", 1, 0), "Prefer", "wait=60"); a.Duplicate {
		t.Error("what was refused has been stored")
	}
	if out, err := inturn(t, "types", "--url", url, "--cacert", dir+"/tls/ca.pem"); err != nil || strings.Contains(out, "yes") {
		t.Errorf("what was refused has been done: %v\n%s", err, out)
	}
	server.stops()
}

// What reads an old state for long, so that the WAL grows, is named by the log and by
// readiness.
func TestReaderBehindALongWALIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir)
	url, admin, c := server.ready(), server.admin(), dial(t, dir)
	mustPost(t, c, url, workEvent("a", 0, 0), "Prefer", "wait=60")
	person := openBeside(t, dir)
	person.do(t, "BEGIN; SELECT count(*) FROM outbox;")
	big := workEvent("b", 0, 0)
	post := func() {
		big.n++
		big.id = fmt.Sprint("w", big.n)
		big.payload = fmt.Sprintf(`{"ms":0,"text":%q}`, strings.Repeat("x", 1<<20-100))
		mustPost(t, c, url, big)
	}
	for !server.said("the WAL grows: it can't be begun anew while an old state of the database is read") {
		if post(); big.n > 100 {
			t.Fatalf("100 MiB, and not a word:\n%s", server.log())
		}
	}
	if !strings.Contains(server.log(), person.String()) {
		t.Errorf("the log:\n%s", server.log())
	}
	if a, err := c.get(t.Context(), admin+"/readyz"); err != nil || a.Status != 200 || !strings.Contains(a.Warning, person.String()) {
		t.Errorf("readyz: %+v, %v", a, err)
	}
	person.do(t, "COMMIT;")
	until := time.Now().Add(30 * time.Second)
	for !server.said("the WAL was begun anew") {
		if post(); time.Now().After(until) {
			t.Fatalf("the WAL is still long:\n%s", server.log())
		}
	}
	if a, err := c.get(t.Context(), admin+"/readyz"); err != nil || a.Status != 200 || a.Warning != "" {
		t.Errorf("readyz: %+v, %v", a, err)
	}
	server.stops()
}
