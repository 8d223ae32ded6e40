package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"inturn/runner"
)

// Rates are events a second, over the last minute or since the process began.
type Rates struct {
	Accepted float64 // new events that clients sent
	Done     float64 // runs of events that were settled as done

	Commits            float64
	Operations         float64 // of a commit, on average
	CommitMilliseconds float64 // of a commit, on average
}

const (
	rateWindow  = time.Minute
	sampleEvery = 5 * time.Second
)

// totals are the values of counters at a time.
type totals struct {
	at                   time.Time
	accepted, done, dead float64

	commits, operations, seconds float64
}

// samples are the totals of the last rateWindow, the oldest first.
type samples struct {
	mu   sync.Mutex
	list []totals
}

// Sample keeps what the counters were in the last minute, for Rates, until ctx ends.
func (m *Metrics) Sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		m.sample(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Metrics) sample(now time.Time) {
	s := m.totals(now)
	m.samples.mu.Lock()
	defer m.samples.mu.Unlock()
	list := append(m.samples.list, s)
	for len(list) > 1 && now.Sub(list[0].at) > rateWindow {
		list = list[1:]
	}
	m.samples.list = list
}

// Rates returns the rates until now, zero before the first Sample.
func (m *Metrics) Rates(now time.Time) Rates {
	m.samples.mu.Lock()
	defer m.samples.mu.Unlock()
	if len(m.samples.list) == 0 {
		return Rates{}
	}
	first, last := m.samples.list[0], m.totals(now)
	seconds := max(now.Sub(first.at), time.Second).Seconds()
	commits := last.commits - first.commits
	return Rates{
		Accepted: (last.accepted - first.accepted) / seconds, Done: (last.done - first.done) / seconds, Commits: commits / seconds,
		Operations: (last.operations - first.operations) / max(commits, 1), CommitMilliseconds: (last.seconds - first.seconds) / max(commits, 1) * 1000,
	}
}

func (m *Metrics) totals(now time.Time) totals {
	t := totals{at: now, accepted: value(m.results["new"])}
	for _, typ := range *m.typed.Load() {
		t.done += value(typ.ended[runner.OutcomeDone])
		t.dead += value(typ.dead)
	}
	t.commits, t.seconds = histogram(m.commits)
	_, t.operations = histogram(m.groups)
	return t
}

func value(c prometheus.Counter) float64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0 // a counter without labels of its own can always be written
	}
	return m.GetCounter().GetValue()
}

// Totals returns how many events were accepted, done and set aside since the process began.
func (m *Metrics) Totals() (accepted, done, dead float64) {
	t := m.totals(time.Now())
	return t.accepted, t.done, t.dead
}

// histogram returns how many values a histogram has, and their sum.
func histogram(h prometheus.Histogram) (count, sum float64) {
	var m dto.Metric
	if h.Write(&m) != nil {
		return 0, 0
	}
	return float64(m.GetHistogram().GetSampleCount()), m.GetHistogram().GetSampleSum()
}
