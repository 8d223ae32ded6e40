package proofs

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// unobserved builds the real binary without observers: nothing is counted in it.
func unobserved(t *testing.T) string {
	t.Helper()
	observers := regexp.MustCompile(`,?\s*Observer: +s\.numbers|s\.public\.observe = s\.numbers\.Connection`)
	dir, replace, found := t.TempDir(), map[string]string{}, 0
	for _, name := range []string{"server.go", "run.go"} {
		place, err := filepath.Abs(filepath.Join("..", "serve", name))
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(place)
		if err != nil {
			t.Fatal(err)
		}
		found += len(observers.FindAll(source, -1))
		replace[place] = filepath.Join(dir, name)
		if err := os.WriteFile(replace[place], observers.ReplaceAll(source, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found != 4 {
		t.Fatalf("package serve has %d places that observe, want 4", found)
	}
	overlay, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "inturn")
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, content, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", binary, ".")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// TestCostOfObservation: counters and logs cost less than a twentieth of the throughput at
// full load: a server as it ships, scraped each second, beside one that counts nothing and
// logs errors only. They take turns; the medians count. Processor time an event, which
// other programs on the machine disturb less, is logged as well.
//
//	INTURN_LONG=1 go test ./proofs -v -run TestCostOfObservation
func TestCostOfObservation(t *testing.T) {
	if !long() {
		t.Skip("it measures for minutes: set INTURN_LONG=1")
	}
	wrk := needTool(t, "wrk")
	const rounds = 7
	binaries := map[string]string{"observed": theBinary(t), "unobserved": unobserved(t)}
	got, cpu := map[string][]float64{}, map[string][]float64{}
	for round := range rounds {
		order := []string{"observed", "unobserved"}
		if round%2 == 1 { // neither side is always first
			slices.Reverse(order)
		}
		for _, side := range order {
			perSecond, micros := throughput(t, wrk, binaries[side], side == "observed")
			got[side], cpu[side] = append(got[side], perSecond), append(cpu[side], micros)
		}
		t.Logf("round %d: observed %.0f/s, unobserved %.0f/s, ratio %.3f", round+1, got["observed"][round], got["unobserved"][round],
			got["observed"][round]/got["unobserved"][round])
	}
	var ratios []float64
	for i := range rounds {
		ratios = append(ratios, got["observed"][i]/got["unobserved"][i])
	}
	ratio := median(ratios)
	t.Logf("processor time an event: observed %.1f µs, unobserved %.1f µs, ratio of the medians %.3f", median(cpu["observed"]), median(cpu["unobserved"]),
		median(cpu["observed"])/median(cpu["unobserved"]))
	t.Logf("medians: observed %.0f/s, unobserved %.0f/s, ratio of a round %.3f", median(got["observed"]), median(got["unobserved"]), ratio)
	if ratio < 0.95 {
		t.Errorf("observation costs %.1f%% of the throughput", 100*(1-ratio))
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// throughput is how many events a second a fresh server takes from 256 connections, and
// how many microseconds of processor time it has for each of them.
func throughput(t *testing.T, wrk, binary string, observed bool) (perSecond, micros float64) {
	t.Helper()
	p := startBinary(t, binary, t.TempDir())
	url, admin := p.ready(), p.admin()
	if !observed {
		quiet, err := http.NewRequest(http.MethodPut, admin+"/loglevel", strings.NewReader("error"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(quiet)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("the log level: %v %v", res, err)
		}
		res.Body.Close()
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(time.Second); observed; {
			select {
			case <-tick.C:
			case <-over:
				return
			}
			res, err := http.Get(admin + "/metrics")
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}()
	out, err := exec.Command(wrk, "-t2", "-c256", "-d8s", "-s", "testdata/event.lua", url+"/v1/events").CombinedOutput()
	close(over)
	<-ended
	if err != nil {
		t.Fatalf("wrk: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`Requests/sec: +([\d.]+)`).FindSubmatch(out)
	if m == nil || strings.Contains(string(out), "Non-2xx") {
		t.Fatalf("wrk: %s", out)
	}
	n := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
	if n == nil {
		t.Fatalf("wrk: %s", out)
	}
	perSecond, err = strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	events, err := strconv.Atoi(string(n[1]))
	if err != nil {
		t.Fatal(err)
	}
	p.kill()
	<-p.gone
	used := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	return perSecond, float64(used.Microseconds()) / float64(events)
}
