// Package api is what a client calls: events go in and are asked for, over HTTP.
//
//	connection -> Listen -> Server -> front: request id, panics, one log line
//	                                    -> ingestion, queries, operations: one endpoint a function
//	                                         -> Store: durable, then the answer
//
// An endpoint returns nil after it has answered, or an error. Every error becomes
// an answer in one place, see problem.go.
package api

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"

	"inturn/functions"
)

// Handler answers the requests of the public address.
type Handler struct {
	http.Handler
	functions *liveSet
	routes    atomic.Pointer[http.ServeMux]
	front     *front
	events    *ingestion
	register  []func(*router) // of the paths that do not change
}

// New returns the handler of the public address. It is an error if the pattern of
// an HTTP function is invalid or clashes with another.
func New(o Options) (*Handler, error) {
	if o.Store == nil || o.Functions == nil {
		return nil, errors.New("api: Store and Functions are needed")
	}
	h := newHandler(o.complete())
	return h, h.SetFunctions(o.Functions)
}

func newHandler(o Options) *Handler {
	h := &Handler{functions: &liveSet{}, front: newFront(o)}
	h.events = newIngestion(o, h.front, h.functions)
	h.register = []func(*router){h.events.register, newQueries(o, h.functions).register, newOperations(o, h.functions).register}
	h.Handler = h.front.handler(h.routes.Load)
	return h
}

// SetFunctions replaces the functions while requests come in: each request has those that
// were there when it came, or these. After an error all is as before.
func (h *Handler) SetFunctions(set *functions.Set) error {
	routes, err := h.routesOf(set)
	if err != nil {
		return err
	}
	h.functions.set.Store(set)
	h.routes.Store(routes)
	return nil
}

// CheckFunctions says whether New takes these functions.
func CheckFunctions(set *functions.Set) error {
	_, err := newHandler(Options{}.complete()).routesOf(set)
	return err
}

func (h *Handler) routesOf(set *functions.Set) (*http.ServeMux, error) {
	r := &router{mux: http.NewServeMux(), front: h.front}
	for _, register := range h.register {
		register(r)
	}
	for _, f := range set.All() {
		pattern, fn := f.HTTP()
		if fn == nil {
			continue
		}
		if err := r.mount(pattern, h.events.httpFunction(f)); err != nil {
			return nil, err
		}
		if options := optionsOf(pattern); options != "" {
			if err := r.mount(options, h.events.handshake); err != nil {
				return nil, err
			}
		}
	}
	return r.mux, nil
}

// liveSet is the functions of the moment.
type liveSet struct{ set atomic.Pointer[functions.Set] }

// Check is that of functions.Set.
func (l *liveSet) Check(ev functions.Event) (functions.Event, error) { return l.set.Load().Check(ev) }

// Get is that of functions.Set.
func (l *liveSet) Get(name string) (functions.Function, bool) { return l.set.Load().Get(name) }

// Names is that of functions.Set.
func (l *liveSet) Names() []string { return l.set.Load().Names() }

// Admin returns the handler of the admin address: /healthz and /readyz, both without
// a token and by any name, metrics, and for operators profiles and the log level.
func Admin(o Options) http.Handler {
	o = o.complete()
	f := newFront(o)
	f.hosts, f.hostsHint = adminHosts(slices.Concat(o.Hosts, o.AdminHosts)), "--admin-host adds one"
	r := &router{mux: http.NewServeMux(), front: f}
	newAdmin(o).register(r)
	return f.handler(r.routes)
}
