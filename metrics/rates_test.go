package metrics

import (
	"testing"
	"time"

	"inturn/runner"
)

// Rates are those of the last minute: what was before is forgotten.
func TestRates(t *testing.T) {
	m := New([]string{"a", "b"}, "v")
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if got := m.Rates(now); got != (Rates{}) {
		t.Errorf("before the first sample: %+v", got)
	}
	m.sample(now)
	count := func(events int) {
		for range events {
			m.Offered("new")
			m.Offered("duplicate")
			m.Ended("a", runner.OutcomeDone)
			m.Ended("gone", runner.OutcomeDone) // of a type without a function
			m.Ended("b", runner.OutcomeFailed)
		}
	}
	count(30)
	if got := m.Rates(now.Add(10 * time.Second)); got != (Rates{Accepted: 3, Done: 6}) {
		t.Errorf("after 10 s: %+v", got)
	}
	for i := range 100 {
		m.sample(now.Add(time.Duration(i) * sampleEvery))
	}
	now = now.Add(99 * sampleEvery)
	if n := len(m.samples.list); n != int(rateWindow/sampleEvery)+1 {
		t.Errorf("%d samples are kept", n)
	}
	count(60)
	if got := m.Rates(now); got != (Rates{Accepted: 1, Done: 2}) {
		t.Errorf("the last minute: %+v", got)
	}
}
