package serve

import (
	"inturn/cli"
	"inturn/functions"
	"inturn/logs"
	localtls "inturn/tls"

	"fmt"
	"net"
	"slices"
)

// sayReady logs the addresses, and on a terminal prints a line that can be pasted: it posts
// a message where a function takes it, else it asks for the types that are taken.
func (s *Server) sayReady() {
	a, c := s.Addr(), &s.config
	url := c.url(a)
	s.log.Info("ready", "listen", a.Public, "http_listen", a.Plain, "admin", a.Admin, "url", url, "db", cli.PrintableDB(c.DB), "ca", a.CA, "version", programVersion())
	if !isTerminal(s.out) {
		return
	}
	line := "curl"
	if a.CA != "" {
		line += " --cacert " + a.CA
	}
	if s.tokens != nil {
		line += ` -H "Authorization: Bearer $INTURN_TOKEN"`
	}
	what := "/v1/types"
	if _, ok := s.assembly.Load().functions.Get(functions.DefaultType); ok {
		what = `/v1/events -d '{"client_id":"a","message_id":"1","payload":{"phone":"+70000000001","text":"hello"}}'`
	}
	fmt.Fprintf(logs.Within(s.out, printTime), "\n  %s %s%s\n\n", line, url, what)
}

// url is where clients find the server.
func (c *Config) url(a Addresses) string {
	scheme := "https"
	if c.TLS == tlsOff {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(a.Public)
	if err != nil {
		return scheme + "://" + a.Public
	}
	ip := net.ParseIP(host)
	named := slices.IndexFunc(c.Domain, func(name string) bool { return localtls.CheckDomain(name) == nil })
	switch {
	case c.TLS == tlsACME: // whatever port is forwarded to ours, the authority has asked 443
		return scheme + "://" + c.Domain[0]
	case c.TLS == tlsFiles && named >= 0:
		host = c.Domain[named]
	case ip != nil && ip.IsUnspecified():
		host = "localhost" // no certificate is for [::]
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
