package proofs

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

// TestRollingLoadTest replaces the process again and again under `inturn loadtest`,
// each time on the same port: a client is refused with a time to come back, cut off,
// or finds no server, and nothing that was answered is lost, doubled or out of turn.
func TestRollingLoadTest(t *testing.T) {
	needThorough(t)
	t.Parallel()
	restarts, lasts := 3, 4*time.Second
	if long() {
		restarts, lasts = 20, 2*time.Minute
	}
	dir := t.TempDir()
	server := start(t, dir)
	url := server.ready()
	_, port, err := net.SplitHostPort(server.says("ready").Listen)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lasts+patience)
	defer cancel()
	tester := exec.CommandContext(ctx, theBinary(t), "loadtest", "--json", "--url", url, "--cacert", filepath.Join(dir, "tls", "ca.pem"),
		"--rate", "400", "--duration", lasts.String(), "--clients", "100", "--connections", "32")
	tester.Env = environment()
	var report struct {
		Accepted, Duplicates, Processed, Unexpected, Unanswered, Violations int

		Overload int `json:"refused_overload"`
	}
	var failure error
	tested := make(chan struct{})
	go func() {
		defer close(tested)
		out, err := tester.Output() // its status is 1 where a request got no answer
		if failure = json.Unmarshal(out, &report); failure != nil {
			failure = fmt.Errorf("loadtest: %w, %q", err, out)
		}
	}()
	defer func() { cancel(); <-tested }()
	over := func() bool {
		select {
		case <-tested:
			return true
		default:
			return false
		}
	}

	file, err := file.OpenReadOnly(ctx, dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	accepted := func() (n int) {
		if err := file.QueryRow("SELECT coalesce(max(seq), 0) FROM outbox").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	gone := 0
	for gone < restarts && !over() {
		begin := accepted()
		eventually(t, "the load", func() bool { return over() || accepted() > begin+100 })
		next := start(t, dir, "--listen", "127.0.0.1:"+port)
		wantWaiting(t, next, server)
		server.stops()
		server = next
		server.ready()
		gone++
	}
	<-tested
	if failure != nil {
		t.Fatal(failure)
	}
	t.Logf("%d restarts: %+v", gone, report)
	if gone < 2 || long() && gone < restarts || report.Accepted == 0 {
		t.Errorf("%d restarts, %d accepted: this run proves less than it should", gone, report.Accepted)
	}
	if report.Violations > 0 || report.Unexpected > 0 || report.Processed < report.Accepted {
		t.Errorf("%d violations, %d unexpected answers, %d processed of %d", report.Violations, report.Unexpected, report.Processed, report.Accepted)
	}
	drained(t, dir)
	server.stops()
	if out, err := inturn(t, "check", "--db", dbFile(dir)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
}
