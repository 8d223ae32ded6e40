package api

import (
	"log/slog"
	"net/http"
)

// admin answers what concerns the process: health, metrics, profiles, the log level.
type admin struct {
	auth
	ready       func() error
	log         *slog.Logger
	stopping    <-chan struct{}
	warning     func() string // nil: nothing is ever wrong
	metrics     http.Handler  // nil: none
	openMetrics bool          // metrics need no token
	profiling   bool
	level       *slog.LevelVar // nil: it can't be changed
	page        Page           // nil: none
}

func newAdmin(o Options) *admin {
	return &admin{
		auth: auth{o.Tokens}, ready: o.Store.Ready, log: o.Log, stopping: o.Stopping, warning: o.Warning,
		metrics: o.Metrics, openMetrics: o.OpenMetrics, profiling: o.Profiles, level: o.LogLevel, page: o.Page,
	}
}

// authorizeProcess returns nil where the request's token may do what needs scope and
// concerns the process, which no token for some client_ids may.
func (m *admin) authorizeProcess(x *exchange, r *http.Request, need scope) error {
	tok, err := m.authorize(x, r, need)
	if err != nil {
		return err
	}
	return tok.authorizeAll()
}

// getPage lets the page answer.
func (m *admin) getPage(x *exchange, r *http.Request) error {
	m.page.ServeHTTP(x, r)
	return nil
}

func (m *admin) register(r *router) {
	r.handleAnyHost("GET /healthz", m.getHealth)
	r.handleAnyHost("GET /readyz", m.getReady)
	if m.page != nil {
		for _, pattern := range m.page.Patterns() {
			r.mux.HandleFunc(pattern, r.front.serve(m.getPage))
		}
	}
	if m.metrics != nil {
		r.handle("GET /metrics", m.getMetrics)
	}
	if !m.profiling {
		return
	}
	r.handle("GET /debug/pprof/{$}", m.getProfile)
	r.handle("GET /debug/pprof/{name}", m.getProfile, "debug", "seconds")
	if m.level != nil {
		r.handle("GET /loglevel", m.logLevel)
		r.handle("PUT /loglevel", m.logLevel)
	}
}
