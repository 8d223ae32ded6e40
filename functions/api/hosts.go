package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

var (
	unknownHost = kind{"unknown-host", http.StatusMisdirectedRequest, "This host is not served here", 0}
	crossOrigin = kind{"cross-origin", http.StatusForbidden, "Requests of other sites' pages are not taken", 0}
)

// hostSet is the names that a Host header may have, without port. A page whose name was
// made to point here (DNS rebinding) has another one. A nil set has every name.
type hostSet struct {
	names     map[string]struct{}
	addresses bool // any IP address is in it: a page that was loaded from one is its own
}

// publicHosts has the names of this machine itself and those given; it is nil, for any
// name, where none is given.
func publicHosts(names []string) *hostSet {
	if len(names) == 0 {
		return nil
	}
	return newHostSet(names)
}

// adminHosts has the names of this machine itself, those given, and every IP address.
func adminHosts(names []string) *hostSet {
	s := newHostSet(names)
	s.addresses = true
	return s
}

func newHostSet(names []string) *hostSet {
	s := &hostSet{names: map[string]struct{}{}}
	for _, list := range [][]string{{"localhost", "127.0.0.1", "::1", "0.0.0.0"}, names} {
		for _, name := range list {
			s.names[strings.ToLower(strings.TrimSuffix(name, "."))] = struct{}{}
		}
	}
	return s
}

// has reports whether a Host header, with or without a port, names one of the set.
func (s *hostSet) has(host string) bool {
	if s == nil {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, ok := s.names[host]; ok {
		return true
	}
	_, err := netip.ParseAddr(host)
	return s.addresses && err == nil
}

// guard refuses requests to foreign names and those that a browser makes for another
// site's page. Both are asked before any token: neither sender knows one.
func (f *front) guard(r *http.Request) error {
	if !f.hosts.has(r.Host) {
		return unknownHost.withDetail("use a name that the server was given: %s", f.hostsHint)
	}
	if f.origins.Check(r) != nil {
		return crossOrigin.withDetail("a browser sent this for another site's page")
	}
	return nil
}
