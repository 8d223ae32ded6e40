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
)

// New returns the handler of the public address. It is an error if the pattern of
// an HTTP function is invalid or clashes with another.
func New(o Options) (http.Handler, error) {
	if o.Store == nil || o.Functions == nil {
		return nil, errors.New("api: Store and Functions are needed")
	}
	o = o.complete()
	f := newFront(o)
	r := &router{mux: http.NewServeMux(), front: f}
	events := newIngestion(o, f)
	events.register(r)
	newQueries(o).register(r)
	newOperations(o).register(r)
	for _, function := range o.Functions.All() {
		pattern, fn := function.HTTP()
		if fn == nil {
			continue
		}
		if err := r.mount(pattern, events.httpFunction(function)); err != nil {
			return nil, err
		}
		if options := optionsOf(pattern); options != "" {
			if err := r.mount(options, events.handshake); err != nil {
				return nil, err
			}
		}
	}
	return f.handler(r.mux), nil
}

// Admin returns the handler of the admin address: /healthz and /readyz, both without
// a token and by any name, metrics, and for operators profiles and the log level.
func Admin(o Options) http.Handler {
	o = o.complete()
	f := newFront(o)
	f.hosts, f.hostsHint = adminHosts(slices.Concat(o.Hosts, o.AdminHosts)), "--admin-host adds one"
	r := &router{mux: http.NewServeMux(), front: f}
	newAdmin(o).register(r)
	return f.handler(r.mux)
}

// stopped reports whether shutdown has begun.
func stopped(stopping <-chan struct{}) bool {
	select {
	case <-stopping:
		return true
	default:
		return false
	}
}
