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
}

const (
	rateWindow  = time.Minute
	sampleEvery = 5 * time.Second
)

// totals are the values of counters at a time.
type totals struct {
	at             time.Time
	accepted, done float64
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
	return Rates{Accepted: (last.accepted - first.accepted) / seconds, Done: (last.done - first.done) / seconds}
}

func (m *Metrics) totals(now time.Time) totals {
	t := totals{at: now, accepted: value(m.results["new"])}
	for _, typ := range *m.typed.Load() {
		t.done += value(typ.ended[runner.OutcomeDone])
	}
	return t
}

func value(c prometheus.Counter) float64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0 // a counter without labels of its own can always be written
	}
	return m.GetCounter().GetValue()
}
