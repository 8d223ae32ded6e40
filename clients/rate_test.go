package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
)

// The stream of the client in Python is at least half as fast as `inturn send`, beside it on
// the same server, each after the other has ended and its events are done.
func TestPythonStreamsHalfAsFastAsSend(t *testing.T) {
	if os.Getenv("INTURN_LONG") == "" {
		t.Skip("it measures: set INTURN_LONG=1")
	}
	all := kits(t)
	at := slices.IndexFunc(all, func(k kit) bool { return k.name == "python" })
	if at < 0 {
		t.Skip("there is no python3")
	}
	const count = 50_000
	s := program.Serve(t, t.TempDir(), nil, "--max-pending", "2000000")
	url := "localhost:" + program.Port(s.Listen)
	var ratios []float64
	for run := range 5 {
		file := filepath.Join(s.Dir, fmt.Sprintf("%d.ndjson", run))
		var lines strings.Builder
		for i := range count {
			fmt.Fprintf(&lines, "{\"client_id\":\"go%d-%d\",\"message_id\":\"%d\",\"type\":\"work\",\"payload\":{\"ms\":0,\"n\":%d}}\n", run, i%1000, i, i)
		}
		if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if r := program.Run(t, s.Dir, nil, "send", file, "--url", "wss://"+url, "--cacert", s.CA); r.Status != 0 {
			t.Fatalf("send: %+v", r)
		}
		sent := time.Since(begin).Seconds()
		settled(t, s.Dir)
		said := start(t, all[at], "rate", map[string]any{"url": "https://" + url, "ca": s.CA, "prefix": fmt.Sprintf("py%d-", run), "count": count}).wait()
		if len(said) != 1 || said[0].Seq != count {
			t.Fatalf("python: %+v", said)
		}
		took, err := strconv.ParseFloat(said[0].Text, 64)
		if err != nil {
			t.Fatal(err)
		}
		settled(t, s.Dir)
		ratios = append(ratios, sent/took)
	}
	slices.Sort(ratios)
	t.Logf("python's rate, of that of send: %.2f", ratios)
	if median := ratios[len(ratios)/2]; median < 0.5 {
		t.Errorf("python's stream has %.2f of the rate of send, want 0.5", median)
	}
}

// settled waits until no event is pending.
func settled(t *testing.T, dir string) {
	t.Helper()
	for {
		r := program.Run(t, dir, nil, "query", "--csv", "SELECT count(*) FROM pending")
		if strings.HasSuffix(r.Out, "\n0\n") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
