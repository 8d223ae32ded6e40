package metrics

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"inturn/db"
	"inturn/functions/api"
	"inturn/runner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// It is the observer of all three.
var (
	_ db.Observer     = (*Metrics)(nil)
	_ runner.Observer = (*Metrics)(nil)
	_ api.Observer    = (*Metrics)(nil)
)

type fakeStorage struct {
	stats   db.Stats
	queries atomic.Int32
}

var now = time.Unix(1_800_000_000, 0)

func (s *fakeStorage) Stats() db.Stats { return s.stats }
func (s *fakeStorage) Ready() error    { return nil }
func (s *fakeStorage) FreePages(context.Context) (int64, error) {
	s.queries.Add(1)
	return 7, nil
}

func (s *fakeStorage) AcceptedAt(_ context.Context, turn int64) (time.Time, error) {
	s.queries.Add(1)
	if turn > 100 {
		return time.Time{}, db.ErrNotFound
	}
	return now.Add(-time.Duration(turn) * time.Second), nil
}

type fakeTurns struct{ stats runner.Stats }

func (t *fakeTurns) Stats() runner.Stats { return t.stats }

func scrape(t *testing.T, m *Metrics) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var lines []string
	for in := bufio.NewScanner(w.Body); in.Scan(); {
		if line := in.Text(); strings.HasPrefix(line, "inturn_") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestScrape(t *testing.T) {
	m := New([]string{"message"}, "v1")
	storage := &fakeStorage{stats: db.Stats{Pending: 12, Runnable: 5, Epoch: 3, WALBytes: 8, DiskFree: -1, DiskSize: -1}}
	m.Watch(Sources{
		Storage: storage, Streams: api.NewStreams(0), Now: func() time.Time { return now },
		Turns:          &fakeTurns{runner.Stats{Accounts: map[runner.State]int{runner.Parked: 2}, Missing: map[string]int{"greet": 2}, Pollers: 2, FreePosition: 30, BlockedPosition: 101}},
		CertificateEnd: func() time.Time { return now.Add(time.Hour) },
		LogLost:        func() (full, failed uint64) { return 3, 4 },
		EndpointsDown:  func() map[string]bool { return map[string]bool{"order": true, "mail": false} },
	})
	m.Committed(3, true, time.Millisecond)
	m.Committed(1, false, time.Millisecond)
	m.Dead("message")
	m.Ended("message", runner.OutcomeDone)
	m.Worked("message", time.Second)
	m.Done(2 * time.Second)
	m.Offered("new")
	m.Problem("overloaded")
	m.Connection(nil, http.StateNew)
	m.Connection(nil, http.StateActive)
	m.Connection(nil, http.StateNew)
	m.Connection(nil, http.StateHijacked)
	m.SetTypes([]string{"message", "added"})
	m.Ended("added", runner.OutcomeDone)
	m.Ended("message", runner.OutcomeDone)
	m.Ticks("missed", 3)
	m.ConfigReloaded(true)
	m.ConfigReloaded(false)
	got := strings.Join(scrape(t, m), "\n") + "\n"
	for _, want := range []string{
		`inturn_pending_events{account="runnable"} 5`, `inturn_pending_events{account="held"} 7`, `inturn_accounts{state="parked"} 2`, `inturn_accounts_without_function{type="greet"} 2`,
		`inturn_oldest_pending_age_seconds 30`, `inturn_oldest_blocked_age_seconds 0`, `inturn_owner_epoch 3`, `inturn_wal_bytes 8`,
		`inturn_database_free_pages 7`, `inturn_certificate_end_timestamp_seconds 1.8000036e+09`, `inturn_http_connections 1`,
		`inturn_log_lines_lost_total{reason="full"} 3`, `inturn_log_lines_lost_total{reason="failed"} 4`,
		`inturn_commit_group_operations_sum 4`, `inturn_commit_seconds_count 2`, `inturn_fsyncs_total 1`, `inturn_events_total{result="new"} 1`,
		`inturn_refusals_total{reason="overloaded"} 1`, `inturn_dead_events_total{type="message"} 1`, `inturn_lag_seconds_bucket{le="2.5"} 1`,
		`inturn_function_outcomes_total{outcome="done",type="message"} 2`, `inturn_function_outcomes_total{outcome="done",type="added"} 1`,
		`inturn_schedule_ticks_total{result="missed"} 3`, `inturn_schedule_ticks_total{result="made"} 0`, `inturn_config_good 0`,
		`inturn_config_reloads_total{result="ok"} 1`, `inturn_config_reloads_total{result="failed"} 1`, `inturn_function_seconds_sum{type="message"} 1`,
		`inturn_endpoint_down{type="order"} 1`, `inturn_endpoint_down{type="mail"} 0`, `inturn_build_info{version="v1"} 1`, `inturn_ready 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(got, "inturn_disk_free_bytes") || strings.Contains(got, "inturn_disk_size_bytes") {
		t.Error("free room that is not known is shown")
	}
	storage.stats.DiskFree, storage.stats.DiskSize = 11, 13
	if got := strings.Join(scrape(t, m), "\n") + "\n"; !strings.Contains(got, "inturn_disk_free_bytes 11\n") || !strings.Contains(got, "inturn_disk_size_bytes 13\n") {
		t.Error("the disk that is known is not shown")
	}
	if n := storage.queries.Load(); n != 6 {
		t.Errorf("two scrapes asked %d queries, want 6: free pages and the two ages", n)
	}
	if problems, err := testutil.GatherAndLint(m.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// Nothing that clients send makes a series of its own.
func TestNoLabelGrows(t *testing.T) {
	m := New([]string{"message", "work"}, "v1")
	m.Watch(Sources{Storage: &fakeStorage{}, Streams: api.NewStreams(0), Turns: &fakeTurns{}})
	before := len(scrape(t, m))
	for i := range 100 {
		typ := strings.Repeat("x", i)
		m.Dead(typ)
		m.SlowEffect(typ)
		m.Worked(typ, time.Second)
		m.Ended(typ, runner.OutcomeParked)
		m.Ended("work", runner.Outcome(typ))
		m.Offered(typ)
	}
	if after := len(scrape(t, m)); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

// An event costs atomic adds only.
func TestNothingIsAllocated(t *testing.T) {
	m := New([]string{"message"}, "v1")
	d := time.Duration(0)
	event := func() {
		d = (d + 37*time.Microsecond) % (10 * time.Millisecond)
		m.Offered("new")
		m.Committed(10, true, d)
		m.Worked("message", d)
		m.Ended("message", runner.OutcomeDone)
		m.Done(d)
	}
	for range 1000 { // the buckets of a native histogram are made once
		event()
	}
	if n := testing.AllocsPerRun(1000, event); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}
