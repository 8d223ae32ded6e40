package api

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

var httpsOnly = kind{"https-only", http.StatusForbidden, "Events are taken over HTTPS only", 0}

// Redirect returns the handler of the address for plain HTTP. It takes no event: a
// sender that was redirected after it had sent a token in the clear would never
// notice. GET and HEAD for one of Hosts, of which there must be some, are redirected
// to HTTPS on port (0: its own, 443); all else is refused.
func Redirect(o Options, port int) http.Handler {
	f := newFront(o.complete())
	r := &router{mux: http.NewServeMux(), front: f}
	_ = r.mount("/", func(x *exchange, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return httpsOnly.withDetail("nothing was stored: send it to https://%s, and replace a token that was sent here", cut(r.Host, 300))
		}
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.Trim(host, "[]")
		switch {
		case port != 0 && port != 443:
			host = net.JoinHostPort(host, strconv.Itoa(port))
		case strings.Contains(host, ":"):
			host = "[" + host + "]"
		}
		x.Header().Set("Location", (&url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}).String())
		x.answer(http.StatusPermanentRedirect, jsonType, nil)
		return nil
	})
	return f.handler(r.routes)
}
