package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// endpoint answers a request and returns nil, or returns the error to be answered.
type endpoint func(*exchange, *http.Request) error

// router is the table of an address's endpoints.
type router struct {
	mux   *http.ServeMux
	front *front
}

func (t *router) routes() *http.ServeMux { return t.mux }

// handle serves pattern by e. A request may have the query parameters that are named,
// each once; any other is answered 400.
func (t *router) handle(pattern string, e endpoint, parameters ...string) {
	t.mux.HandleFunc(pattern, t.front.serve(withQuery(e, parameters)))
}

// handleAnyHost is handle for what any caller may ask, by whatever name.
func (t *router) handleAnyHost(pattern string, e endpoint) {
	t.mux.HandleFunc(pattern, t.front.serveAll(withQuery(e, nil)))
}

// mount serves the pattern of an HTTP function, which reads its query itself. ServeMux's
// panic about a pattern becomes an error: the function may be somebody else's.
func (t *router) mount(pattern string, e endpoint) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("api: mount HTTP function %q: %v", pattern, v)
		}
	}()
	t.mux.HandleFunc(pattern, t.front.serve(e))
	return nil
}

// withQuery checks a request's parameters before e gets it.
func withQuery(e endpoint, allowed []string) endpoint {
	return func(x *exchange, r *http.Request) (err error) {
		if x.query, err = parseQuery(r.URL.RawQuery, allowed); err != nil {
			return err
		}
		return e(x, r)
	}
}

// parseQuery returns the parameters of a query, which must be among those allowed.
func parseQuery(raw string, allowed []string) (map[string]string, error) {
	if raw == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalidRequest.withDetail("the query can't be read: escape it as a URL wants it")
	}
	query := make(map[string]string, len(values))
	for name, list := range values {
		switch {
		case len(allowed) == 0:
			return nil, parameter(name, "is not known: this path has no parameters")
		case !slices.Contains(allowed, name):
			return nil, parameter(name, "is not known: this path has %s", strings.Join(allowed, ", "))
		case len(list) > 1:
			return nil, parameter(name, "is given more than once")
		}
		query[name] = list[0]
	}
	return query, nil
}
