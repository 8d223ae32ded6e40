// Package metrics exports the counters and gauges of the other packages to Prometheus. It
// is the only package that uses Prometheus.
//
//	committer, runner, API --(observers: atomic adds)--> counters and histograms
//	scrape --> watch: their Stats, at that moment   --> gauges
//
// No label grows with clients or events: types are those that have a function, and all
// other values are constants of the program. An event costs atomic adds and no allocation.
// Gauges (pending events, accounts by state) are counted as they change, so a scrape holds
// each lock for a moment and reads at most a few rows by their key, however many are
// stored. For the age of the oldest event the schedule keeps its lanes in heaps by the
// position of their head; an index on that column would cost each append and each settle
// a page.
//
// Lag and function times are native histograms that have classic buckets as well, for a
// Prometheus without native ones; the dashboard's queries work with both. The tests run a
// real Prometheus against servers with faults, and ask it every query of the dashboard.
// Grafana itself is not run.
package metrics

import (
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"inturn/runner"
)

// other is the label of events whose type has no function any more.
const other = "other"

// Metrics counts what happens. It implements the observers of the storage, the runner and
// the API.
type Metrics struct {
	registry    *prometheus.Registry
	connections atomic.Int64

	groups               prometheus.Histogram
	commits, checkpoints prometheus.Histogram
	fsyncs               prometheus.Counter
	lag                  prometheus.Histogram
	events, refusals     *prometheus.CounterVec
	slow, dead, outcomes *prometheus.CounterVec
	work                 *prometheus.HistogramVec
	typed                atomic.Pointer[map[string]*typed] // by the type of an event; never changed, but replaced
	ticks                *prometheus.CounterVec
	configReloads        *prometheus.CounterVec
	configGood           prometheus.Gauge
	results              map[string]prometheus.Counter
	samples              samples
}

// typed is the counters of one type of event.
type typed struct {
	slow, dead prometheus.Counter
	work       prometheus.Observer
	ended      map[runner.Outcome]prometheus.Counter
}

// results are the values of the label result: what came of an event that was offered.
var results = []string{"new", "duplicate", "conflict", "invalid", "not-attempted", "refused"}

// reasons are the values of the label reason that exist from the start, with 0, so that
// the first refusal for each is an increase that an alert can see.
var reasons = []string{"account-full", "backlog-full", "id-reused", "invalid-event", "outcome-unknown", "overloaded", "rate-limited",
	"shutting-down", "storage-full", "storage-locked", "unauthorized", "unavailable"}

// New makes the counters. types are the types that have a function, and version is that
// of the binary.
func New(types []string, version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), results: map[string]prometheus.Counter{}}
	m.groups = m.histogram("commit_group_operations", "Operations (appends, settles and others) that were committed together.",
		prometheus.ExponentialBuckets(1, 4, 6), false)
	m.commits = m.histogram("commit_seconds", "Time from the begin of a group's transaction to the end of its fsync.",
		prometheus.ExponentialBuckets(0.00025, 4, 8), false)
	m.checkpoints = m.histogram("checkpoint_seconds", "Time that moving the WAL into the file took, between two commits.",
		prometheus.ExponentialBuckets(0.001, 4, 7), false)
	m.fsyncs = m.counter("fsyncs_total", "Fsyncs of the WAL that commits waited for; what checkpoints sync is not in it.")
	m.lag = m.histogram("lag_seconds", "Time from the acceptance of an event to the commit of its first run's effect and result.",
		[]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}, true)
	m.events = m.counters("events_total", "Events that were offered, by what became of them: new ones are durable; "+
		"duplicates were durable before; a conflict is an id that was used for something else; invalid ones can never be taken; "+
		"not-attempted ones stood behind a refused one of their account; refused ones may come again (see inturn_refusals_total).", "result")
	m.refusals = m.counters("refusals_total", "Problems that were answered, to requests and to events of batches and streams, by their name.", "reason")
	m.slow = m.counters("slow_effects_total", "Effects that held the committer longer than their soft limit of 5 ms.", "type")
	m.dead = m.counters("dead_events_total", "Events that were set aside, by functions and by people.", "type")
	m.outcomes = m.counters("function_outcomes_total", "Attempts by how they ended: done, failed (tried again), postponed (nothing was tried), dead, or parked (the last one).", "type", "outcome")
	m.work = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "function_seconds", Help: "Time that a function's first phase took, effects not included.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 9), NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
	}, []string{"type"})
	m.registry.MustRegister(m.work)
	for _, result := range results {
		m.results[result] = m.events.WithLabelValues(result)
	}
	for _, reason := range reasons {
		m.refusals.WithLabelValues(reason)
	}
	m.ticks = m.counters("schedule_ticks_total", "Ticks of schedules: made, duplicate (another process was first), failed (tried again) or missed (not made up for).", "result")
	for _, result := range []string{"made", "duplicate", "failed", "missed"} {
		m.ticks.WithLabelValues(result)
	}
	m.configReloads = m.counters("config_reloads_total", "Reloads of the configuration file; one that failed has changed nothing.", "result")
	for _, result := range []string{"ok", "failed"} {
		m.configReloads.WithLabelValues(result)
	}
	m.configGood = m.gauge("config_good", "1 if the configuration file as it is now is in force, 0 if it is wrong and an earlier one is.", nil)
	m.configGood.Set(1)
	m.SetTypes(types)
	m.gauge("build_info", "1; the binary's version is its label.", prometheus.Labels{"version": version}).Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

const (
	namespace = "inturn"
	// A native histogram has buckets that are at most a tenth wider than the one
	// before; at most nativeBuckets are kept. Prometheus takes it where it scrapes
	// by protobuf, else it gets the classic buckets.
	nativeFactor  = 1.1
	nativeBuckets = 160
)

func (m *Metrics) histogram(name, help string, buckets []float64, native bool) prometheus.Histogram {
	o := prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
	if native {
		o.NativeHistogramBucketFactor, o.NativeHistogramMaxBucketNumber = nativeFactor, nativeBuckets
		o.NativeHistogramMinResetDuration = time.Hour
	}
	h := prometheus.NewHistogram(o)
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string, labels prometheus.Labels) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
	m.registry.MustRegister(g)
	return g
}

// SetTypes replaces the types that have a function. Counters of types that are gone stay.
func (m *Metrics) SetTypes(types []string) {
	all := map[string]*typed{}
	for _, typ := range append([]string{other}, types...) {
		all[typ] = m.of(typ)
	}
	m.typed.Store(&all)
}

// Ticks implements schedules.Observer.
func (m *Metrics) Ticks(result string, n int) { m.ticks.WithLabelValues(result).Add(float64(n)) }

// ConfigReloaded counts a reload of the configuration file.
func (m *Metrics) ConfigReloaded(good bool) {
	result, value := "failed", 0.0
	if good {
		result, value = "ok", 1
	}
	m.configReloads.WithLabelValues(result).Inc()
	m.configGood.Set(value)
}

// of makes the counters of a type, which are exported with 0 before its first event.
func (m *Metrics) of(typ string) *typed {
	t := &typed{
		slow: m.slow.WithLabelValues(typ), dead: m.dead.WithLabelValues(typ), work: m.work.WithLabelValues(typ),
		ended: map[runner.Outcome]prometheus.Counter{},
	}
	for _, as := range []runner.Outcome{runner.OutcomeDone, runner.OutcomeFailed, runner.OutcomeLater, runner.OutcomeDead, runner.OutcomeParked} {
		t.ended[as] = m.outcomes.WithLabelValues(typ, string(as))
	}
	return t
}

func (m *Metrics) typ(name string) *typed {
	typed := *m.typed.Load()
	if t, ok := typed[name]; ok {
		return t
	}
	return typed[other]
}

// Committed implements db.Observer.
func (m *Metrics) Committed(operations int, synced bool, took time.Duration) {
	m.groups.Observe(float64(operations))
	m.commits.Observe(took.Seconds())
	if synced {
		m.fsyncs.Inc()
	}
}

// Checkpointed implements db.Observer.
func (m *Metrics) Checkpointed(took time.Duration) { m.checkpoints.Observe(took.Seconds()) }

// SlowEffect implements db.Observer.
func (m *Metrics) SlowEffect(typ string) { m.typ(typ).slow.Inc() }

// Dead implements db.Observer.
func (m *Metrics) Dead(typ string) { m.typ(typ).dead.Inc() }

// Worked implements runner.Observer.
func (m *Metrics) Worked(typ string, took time.Duration) { m.typ(typ).work.Observe(took.Seconds()) }

// Ended implements runner.Observer.
func (m *Metrics) Ended(typ string, as runner.Outcome) {
	if c, ok := m.typ(typ).ended[as]; ok {
		c.Inc()
	}
}

// Done implements runner.Observer.
func (m *Metrics) Done(lag time.Duration) { m.lag.Observe(lag.Seconds()) }

// Offered implements api.Observer.
func (m *Metrics) Offered(result string) {
	if c, ok := m.results[result]; ok {
		c.Inc()
	}
}

// Problem implements api.Observer. The names are constants of the API.
func (m *Metrics) Problem(name string) { m.refusals.WithLabelValues(name).Inc() }

// Connection is a ConnState of http.Server. It counts the open connections, without those
// that became WebSockets.
func (m *Metrics) Connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		m.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		m.connections.Add(-1)
	}
}

// Handler returns the handler of scrapes. Gauges that can't be read are left out and logged.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
}
