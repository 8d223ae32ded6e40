package api

import (
	"net"
	"net/http"
	"strings"
)

var (
	unknownHost = kind{"unknown-host", http.StatusMisdirectedRequest, "This host is not served here", 0}
	crossOrigin = kind{"cross-origin", http.StatusForbidden, "Requests of other sites' pages are not taken", 0}
)

// alwaysHosts are names of this machine itself, for whoever is on it.
var alwaysHosts = []string{"localhost", "127.0.0.1", "::1", "0.0.0.0"}

// hosts is the names that a Host header may have, without port; nil: any. A page
// whose name was made to point here (DNS rebinding) has another one.
func hosts(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	all := map[string]struct{}{}
	for _, list := range [][]string{alwaysHosts, names} {
		for _, name := range list {
			all[strings.ToLower(strings.TrimSuffix(name, "."))] = struct{}{}
		}
	}
	return all
}

// guard refuses requests to foreign names and those that a browser makes for another
// site's page. Both are asked before any token: neither sender knows one.
func (f *front) guard(r *http.Request) error {
	if f.hosts != nil {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
		if _, ok := f.hosts[host]; !ok {
			return unknownHost.withDetail("use a name that the server was given with --domain")
		}
	}
	if f.origins.Check(r) != nil {
		return crossOrigin.withDetail("a browser sent this for another site's page")
	}
	return nil
}
