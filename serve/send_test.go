package serve

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
)

// System A's three commands, with the server killed twice on the way: send goes on by
// itself, and everything is there once and in the order of the file for each client.
func TestSendOutlivesTheServer(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"wss", "https"} {
		t.Run(scheme, func(t *testing.T) {
			events, clients := 600, 60
			if program.Full() {
				events, clients = 10_000, 1000
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "events.csv")
			if r := program.Run(t, dir, nil, "generate", file, "--type", "message", "--distribution", "random",
				fmt.Sprint("--events=", events), fmt.Sprint("--clients=", clients)); r.Status != 0 {
				t.Fatal(r.ErrOut)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.SplitAfter(text, []byte("\n"))

			s := program.Serve(t, dir, nil)
			env := []string{"INTURN_LISTEN=" + s.Listen, "INTURN_ADMIN=" + s.Admin}
			send := exec.CommandContext(t.Context(), program.Path(t), "send", "-", "--json", "--cacert", s.CA,
				"--url", scheme+"://"+s.Listen)
			send.Dir, send.Env = dir, program.Env()
			stdin, err := send.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var out, errOut bytes.Buffer
			send.Stdout, send.Stderr = &out, &errOut
			if err := send.Start(); err != nil {
				t.Fatal(err)
			}
			defer send.Process.Kill()
			// Each third is still being sent when its server is killed; the file ends
			// only after that.
			third := len(lines) / 3
			for i := range 3 {
				part := lines[i*third:]
				if i < 2 {
					part = part[:third]
				}
				if _, err := stdin.Write(bytes.Join(part, nil)); err != nil {
					t.Fatal(err)
				}
				if i == 2 {
					break
				}
				await(t, s, i*third+third/2)
				if err := s.Cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				s.End(t)
				s = program.Serve(t, dir, env)
			}
			if err := stdin.Close(); err != nil {
				t.Fatal(err)
			}
			if err := send.Wait(); err != nil {
				t.Fatalf("send: %v\n%s", err, errOut.String())
			}
			var sum struct{ Accepted, Duplicates, Refused int }
			if err := json.Unmarshal(out.Bytes(), &sum); err != nil || sum.Accepted+sum.Duplicates != events || sum.Refused != 0 {
				t.Errorf("send says %s: %v", &out, err)
			}
			if !strings.Contains(errOut.String(), "waiting for the server") {
				t.Errorf("send did not notice that the server was away:\n%s", &errOut)
			}
			t.Logf("sent: %s", strings.TrimSpace(out.String()))

			r := program.Run(t, dir, nil, "query", "--csv", "SELECT client_id, message_id FROM outbox ORDER BY seq")
			if r.Status != 0 {
				t.Fatal(r.ErrOut)
			}
			want, got := idsByClient(t, string(text)), idsByClient(t, r.Out)
			for client, ids := range want {
				if !slices.Equal(got[client], ids) {
					t.Errorf("%s: the file has %v, the server %v", client, ids, got[client])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d clients, the file has %d", len(got), len(want))
			}
			if status := s.Stop(t); status != 0 {
				t.Errorf("the server ended with %d", status)
			}
			if r := program.Run(t, dir, nil, "check"); r.Status != 0 {
				t.Errorf("check: %s%s", r.Out, r.ErrOut)
			}
		})
	}
}

// await returns when the server has at least n events.
func await(t *testing.T, s *program.Server, n int) {
	t.Helper()
	client := s.Client(t)
	limit := time.After(program.Patience)
	for {
		resp, err := client.Get(s.URL(fmt.Sprintf("/v1/events?limit=1&after=%d", n-1)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), `"seq":`) {
			return
		}
		select {
		case <-limit:
			t.Fatalf("the server does not get %d events: %s", n, body)
		case <-time.After(time.Millisecond):
		}
	}
}

// idsByClient reads CSV whose first columns are client_id and message_id.
func idsByClient(t *testing.T, text string) map[string][]string {
	t.Helper()
	rows, err := csv.NewReader(bufio.NewReader(strings.NewReader(text))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string][]string{}
	for _, row := range rows[1:] {
		ids[row[0]] = append(ids[row[0]], row[1])
	}
	return ids
}

// The tester against the real server: nothing it looks for is wrong.
func TestLoadTest(t *testing.T) {
	t.Parallel()
	rate, duration := 500, "2s"
	if program.Full() {
		rate, duration = 2000, "10s"
	}
	dir := t.TempDir()
	s := program.Serve(t, dir, []string{"INTURN_TOKEN=secret"})
	r := program.Run(t, dir, []string{"INTURN_TOKEN=secret"}, "loadtest", "--url", "https://"+s.Listen, "--cacert", s.CA,
		fmt.Sprint("--rate=", rate), "--duration", duration, "--clients=100", "--connections=64", "--json")
	var report struct {
		Offered, Accepted, Duplicates, Invalid, Processed, Violations, Unexpected, Unanswered int
	}
	if err := json.Unmarshal([]byte(r.Out), &report); err != nil || r.Status != 0 {
		t.Fatalf("status %d, %v: %s%s", r.Status, err, r.Out, r.ErrOut)
	}
	if report.Accepted+report.Duplicates+report.Invalid != report.Offered || report.Processed != report.Accepted || report.Violations+report.Unexpected+report.Unanswered != 0 {
		t.Errorf("%+v", report)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("the server ended with %d", status)
	}
	if r := program.Run(t, dir, nil, "check"); r.Status != 0 {
		t.Errorf("check: %s%s", r.Out, r.ErrOut)
	}
}
