package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"inturn/db"
	"inturn/runner"
)

// storage is what a scrape asks of the storage. No method takes longer when more is stored.
type storage interface {
	Stats() db.Stats
	// FreePages returns how many pages of the file are free for new rows.
	FreePages(ctx context.Context) (int64, error)
	// AcceptedAt returns when the event was accepted whose position is position, or the
	// next one after it; db.ErrNotFound where there is none.
	AcceptedAt(ctx context.Context, position int64) (time.Time, error)
	// Ready returns nil while events are taken, else why not.
	Ready() error
}

// turns is what a scrape asks of *runner.Runner.
type turns interface{ Stats() runner.Stats }

// streams is what a scrape asks of *api.Streams.
type streams interface {
	Open() (streams int, heldBytes int64)
}

// Sources are read at each scrape.
type Sources struct {
	Storage storage
	Turns   turns
	Streams streams
	// CertificateEnd returns when the certificate that clients get expires; nil if TLS ends
	// elsewhere.
	CertificateEnd func() time.Time
	// EndpointsDown returns whether the endpoint is down, for each type that has one; nil if
	// there are none.
	EndpointsDown func() map[string]bool
	// LogLost returns how many lines were lost because nothing read the log in time, and
	// how many because of failed writes; nil if nothing is logged.
	LogLost func() (full, failed uint64)
	Now     func() time.Time // nil: time.Now
}

// Watch adds the gauges that read s at each scrape. It is called once.
func (m *Metrics) Watch(s Sources) {
	if s.Now == nil {
		s.Now = time.Now
	}
	w := &watch{Sources: s, connections: func() float64 { return float64(m.connections.Load()) }}
	for _, d := range []struct {
		to   **prometheus.Desc
		name string
		help string
		by   []string
	}{
		{&w.pending, "pending_events", "Events that are to run.", []string{"account"}},
		{&w.accounts, "accounts", "Accounts that have pending events, by what they do now.", []string{"state"}},
		{&w.inFlight, "in_flight_accounts", "Accounts that are inside a function or wait for its settle.", nil},
		{&w.pollers, "pollers", "Pollers.", nil},
		{&w.busy, "pollers_busy", "Pollers that are taking a turn.", nil},
		{&w.hot, "pending_memory_bytes", "Memory of the pending events that are kept in it.", nil},
		{&w.freeAge, "oldest_pending_age_seconds", "Age of the oldest pending event whose account nothing holds; 0 if there is none.", nil},
		{&w.blockedAge, "oldest_blocked_age_seconds", "Age of the oldest pending event whose account is held: it failed, is stuck, paused or replayed, or waits for a person; 0 if there is none.", nil},
		{&w.missing, "accounts_without_function", "Accounts that wait, without attempts, because the type of their next event has no function.", []string{"type"}},
		{&w.queued, "queued_operations", "Operations that wait for the committer.", nil},
		{&w.epoch, "owner_epoch", "How often the file was taken by a process; it grows with each.", nil},
		{&w.unclean, "unclean_start", "1 if the last owner of the file did not end in order.", nil},
		{&w.ready, "ready", "1 if events are taken.", nil},
		{&w.full, "disk_full", "1 while events are refused for want of room on the disk.", nil},
		{&w.file, "database_bytes", "Length of the database file.", nil},
		{&w.wal, "wal_bytes", "Length of the write-ahead log, which a reader that never ends keeps from being reset.", nil},
		{&w.free, "database_free_pages", "Pages of the file that are free for new rows.", nil},
		{&w.disk, "disk_free_bytes", "Room that is left on the file's disk.", nil},
		{&w.diskSize, "disk_size_bytes", "Size of the file's disk.", nil},
		{&w.streams, "streams", "WebSocket connections and NDJSON requests.", nil},
		{&w.held, "streams_held_bytes", "Bytes that streams have read and not yet answered.", nil},
		{&w.conns, "http_connections", "Open connections that HTTP is spoken on.", nil},
		{&w.down, "endpoint_down", "1 while the webhook endpoint of a type is down: its accounts wait and are tried one by one.", []string{"type"}},
		{&w.logLost, "log_lines_lost_total", "Lines of the log that were lost, by reason: nothing read them in time (full), or they could not be written (failed).", []string{"reason"}},
		{&w.certificate, "certificate_end_timestamp_seconds", "When the certificate ends that clients are shown.", nil},
	} {
		*d.to = prometheus.NewDesc(prometheus.BuildFQName(namespace, "", d.name), d.help, d.by, nil)
		w.descs = append(w.descs, *d.to)
	}
	m.registry.MustRegister(w)
}

// watch is a collector.
type watch struct {
	Sources
	connections func() float64
	descs       []*prometheus.Desc

	pending, accounts, inFlight, pollers, busy, hot, freeAge, blockedAge *prometheus.Desc
	queued, epoch, unclean, ready, full, file, wal, free, disk, diskSize *prometheus.Desc
	streams, held, conns, down, missing, logLost, certificate            *prometheus.Desc
}

func (w *watch) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range w.descs {
		ch <- d
	}
}

func (w *watch) Collect(ch chan<- prometheus.Metric) {
	ctx := context.Background() // the storage bounds its reads
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := w.Storage.Stats()
	gauge(w.pending, float64(s.Runnable), "runnable")
	gauge(w.pending, float64(s.Pending-s.Runnable), "held")
	gauge(w.queued, float64(s.Queued))
	gauge(w.epoch, float64(s.Epoch))
	gauge(w.unclean, truth(s.Unclean))
	gauge(w.ready, truth(w.Storage.Ready() == nil))
	gauge(w.full, truth(s.DiskFull))
	gauge(w.file, float64(s.FileBytes))
	gauge(w.wal, float64(s.WALBytes))
	if s.DiskFree >= 0 {
		gauge(w.disk, float64(s.DiskFree))
		gauge(w.diskSize, float64(s.DiskSize))
	}
	if pages, err := w.Storage.FreePages(ctx); err != nil {
		ch <- prometheus.NewInvalidMetric(w.free, err)
	} else {
		gauge(w.free, float64(pages))
	}

	t := w.Turns.Stats()
	for state, n := range t.Accounts {
		gauge(w.accounts, float64(n), string(state))
	}
	gauge(w.accounts, float64(t.Paused), "paused")
	for typ, n := range t.Missing {
		gauge(w.missing, float64(n), typ)
	}
	gauge(w.inFlight, float64(t.InFlight))
	gauge(w.pollers, float64(t.Pollers))
	gauge(w.busy, float64(t.Busy))
	gauge(w.hot, float64(t.HotBytes))
	for desc, turn := range map[*prometheus.Desc]int64{w.freeAge: t.FreePosition, w.blockedAge: t.BlockedPosition} {
		if seconds, err := w.age(ctx, turn); err != nil {
			ch <- prometheus.NewInvalidMetric(desc, err)
		} else {
			gauge(desc, seconds)
		}
	}

	open, held := w.Streams.Open()
	gauge(w.streams, float64(open))
	gauge(w.held, float64(held))
	gauge(w.conns, w.connections())
	if w.EndpointsDown != nil {
		for typ, down := range w.EndpointsDown() {
			gauge(w.down, truth(down), typ)
		}
	}
	if w.LogLost != nil {
		full, failed := w.LogLost()
		for reason, n := range map[string]uint64{"full": full, "failed": failed} {
			ch <- prometheus.MustNewConstMetric(w.logLost, prometheus.CounterValue, float64(n), reason)
		}
	}
	if w.CertificateEnd != nil {
		gauge(w.certificate, float64(w.CertificateEnd().Unix()))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// age returns how many seconds ago the event with this turn was accepted, 0 for none.
func (w *watch) age(ctx context.Context, turn int64) (float64, error) {
	if turn == 0 {
		return 0, nil
	}
	at, err := w.Storage.AcceptedAt(ctx, turn)
	switch {
	case errors.Is(err, db.ErrNotFound): // nothing was accepted since: see runner.Stats
		return 0, nil
	case err != nil:
		return 0, err
	}
	return max(w.Now().Sub(at), 0).Seconds(), nil
}
