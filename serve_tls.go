package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"inturn/cli"
	"inturn/functions/api"
	localtls "inturn/tls"
)

// tlsFlags are the flags of serve about certificates and proxies.
type tlsFlags struct {
	TLS    string   `name:"tls" help:"self-signed: by a local CA that is made once. acme: by Let's Encrypt or another authority that speaks ACME. files: --cert and --key. off: behind a proxy that ends TLS." enum:"self-signed,acme,files,off" default:"self-signed" env:"INTURN_TLS"`
	TLSDir string   `name:"tls-dir" help:"Folder of the local CA (the file for clients is ca.pem in it) and of what acme obtained. Default: tls beside the database." env:"INTURN_TLS_DIR" placeholder:"FOLDER"`
	Domain []string `help:"Name of this server in its certificate; may be repeated. With one, requests to foreign names (Host) are refused." env:"INTURN_DOMAIN"`

	ACMEEmail  string `name:"acme-email" help:"Where the authority writes when something is wrong." env:"INTURN_ACME_EMAIL" placeholder:"ADDRESS"`
	ACMECA     string `name:"acme-ca" help:"Directory of the authority. Default: Let's Encrypt." env:"INTURN_ACME_CA" placeholder:"URL"`
	ACMERoot   string `name:"acme-root" help:"PEM file with whom to trust when asking an authority of your own." env:"INTURN_ACME_ROOT" placeholder:"FILE"`
	HTTPListen string `name:"http-listen" help:"Address that port 80 of the domains leads to: answers the authority's challenges and redirects to HTTPS; takes no events." env:"INTURN_HTTP_LISTEN" placeholder:"ADDRESS"`

	Cert string `help:"Certificate and its chain, PEM; read again when it changes." env:"INTURN_CERT" placeholder:"FILE"`
	Key  string `help:"Key of the certificate, PEM." env:"INTURN_KEY" placeholder:"FILE"`

	TrustedProxy  []string `name:"trusted-proxy" help:"Range of addresses (10.0.0.0/8) of proxies in front, whose X-Forwarded-For and -Proto, or PROXY header, count for the log; may be repeated." env:"INTURN_TRUSTED_PROXY" placeholder:"RANGE"`
	ProxyProtocol bool     `name:"proxy-protocol" help:"Connections from --trusted-proxy begin with a PROXY protocol header (version 1 or 2)." env:"INTURN_PROXY_PROTOCOL"`
}

const (
	tlsSelfSigned = "self-signed"
	tlsACME       = "acme"
	tlsFiles      = "files"
	tlsOff        = "off"
)

// validate says what is wrong with the flags, and with them together.
func (f *tlsFlags) validate() error {
	for flag, c := range map[string]struct{ value, mode string }{
		"acme-email": {f.ACMEEmail, tlsACME}, "acme-ca": {f.ACMECA, tlsACME}, "acme-root": {f.ACMERoot, tlsACME},
		"cert": {f.Cert, tlsFiles}, "key": {f.Key, tlsFiles},
	} {
		if c.value != "" && f.TLS != c.mode {
			return &cli.Hint{Err: fmt.Errorf("--%s does nothing with --tls %s", flag, f.TLS), Hint: "say --tls " + c.mode + " too, or leave it out"}
		}
	}
	for _, name := range f.Domain {
		if err := localtls.CheckName(name); err != nil && f.TLS != tlsACME {
			return err
		}
	}
	if f.TLS == tlsACME {
		if len(f.Domain) == 0 {
			return &cli.Hint{Err: errors.New("--tls acme needs a --domain to ask a certificate for"), Hint: "give the name that clients use, such as --domain events.example.com; its DNS must lead here"}
		}
		for _, name := range f.Domain {
			if err := localtls.CheckDomain(name); err != nil {
				return fmt.Errorf("--tls acme: %w", err)
			}
		}
		if u, err := url.Parse(f.ACMECA); f.ACMECA != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
			return &cli.Hint{Err: fmt.Errorf("--acme-ca %.200q is not the URL of a directory", f.ACMECA), Hint: "such as https://acme-staging-v02.api.letsencrypt.org/directory"}
		}
	}
	if f.TLS == tlsFiles && (f.Cert == "" || f.Key == "") {
		return &cli.Hint{Err: errors.New("--tls files needs both --cert and --key"), Hint: "give the certificate with its chain, and its key, as PEM files"}
	}
	if f.HTTPListen != "" && (f.TLS == tlsOff || len(f.Domain) == 0) {
		return &cli.Hint{Err: errors.New("--http-listen redirects to HTTPS at a --domain: it needs one, and TLS"), Hint: "leave it out, or give --domain"}
	}
	if _, err := api.ParseProxies(f.TrustedProxy); err != nil {
		return fmt.Errorf("--trusted-proxy: %w", err)
	}
	if f.ProxyProtocol && len(f.TrustedProxy) == 0 {
		return &cli.Hint{Err: errors.New("--proxy-protocol needs --trusted-proxy: whoever may send the header may say who the client is"), Hint: "give the addresses that the proxy connects from, such as --trusted-proxy 172.16.0.0/12"}
	}
	return nil
}

// forTheWorld reports whether clients come from elsewhere, through a proxy or a
// forwarded port, also where --listen says loopback.
func (f *tlsFlags) forTheWorld() bool { return f.TLS == tlsACME || len(f.TrustedProxy) > 0 }

// doors are the listeners for clients, with whatever proxies stand before them.
type doors struct {
	public, plain net.Listener // plain: for plain HTTP beside HTTPS, nil for none
	proxies       api.Proxies  // whose X-Forwarded-For counts
}

func (f *tlsFlags) open(listen string, maxConnections int, log *slog.Logger) (*doors, error) {
	trusted, err := api.ParseProxies(f.TrustedProxy)
	if err != nil {
		return nil, fmt.Errorf("serve: --trusted-proxy: %w", err)
	}
	d := &doors{proxies: trusted}
	if d.public, err = api.Listen(listen, maxConnections); err != nil {
		return nil, explainListen("--listen", fmt.Errorf("serve: %w", err))
	}
	if f.HTTPListen != "" {
		if d.plain, err = api.Listen(f.HTTPListen, 256); err != nil {
			d.public.Close()
			return nil, explainListen("--http-listen", fmt.Errorf("serve: http: %w", err))
		}
	}
	if f.ProxyProtocol {
		d.proxies = nil // the connection's address is the client's already
		d.public = api.ProxyListener(d.public, trusted, log)
		if d.plain != nil {
			d.plain = api.ProxyListener(d.plain, trusted, log)
		}
	}
	return d, nil
}

func (d *doors) Close() {
	d.public.Close()
	if d.plain != nil {
		d.plain.Close()
	}
}

// plainAddr is the address for plain HTTP, "" for none.
func (d *doors) plainAddr() string {
	if d.plain == nil {
		return ""
	}
	return d.plain.Addr().String()
}

// certificates is what a mode of --tls gives the server.
type certificates struct {
	config     *tls.Config      // nil: no TLS
	caFile     string           // of the local CA, else ""
	notAfter   func() time.Time // when the first of them ends; 1970: one is not there yet. nil: no TLS
	warning    func() string    // what a person should look at; "" for nothing
	run        func(ctx context.Context)
	challenges func(http.Handler) http.Handler
	close      func()
}

func (s *serve) certificates(d *doors, log *slog.Logger) (*certificates, error) {
	c := &certificates{
		warning:    func() string { return "" },
		run:        func(ctx context.Context) { <-ctx.Done() },
		challenges: func(next http.Handler) http.Handler { return next },
		close:      func() {},
	}
	switch s.TLS {
	case tlsSelfSigned:
		local, err := localtls.SelfSigned(s.tlsDir(), s.Domain, time.Now, log)
		if err != nil {
			return nil, fmt.Errorf("serve: tls: %w", err)
		}
		c.config, c.caFile, c.notAfter = local.Config(), local.CAFile(), local.NotAfter
	case tlsACME:
		o := localtls.ACMEOptions{Domains: s.Domain, Email: s.ACMEEmail, Dir: filepath.Join(s.tlsDir(), "acme"), CA: s.ACMECA, RootFile: s.ACMERoot, Public: d.public.Addr(), Log: log}
		if d.plain != nil {
			o.Plain = d.plain.Addr()
		}
		acme, err := localtls.OpenACME(o)
		if err != nil {
			return nil, &cli.Hint{Err: fmt.Errorf("serve: %w", err), Hint: "is --tls-dir a folder that this user may write, and --acme-root a file it may read?"}
		}
		c.config, c.warning, c.run, c.challenges, c.close = acme.Config(), acme.Warning, acme.Run, acme.Challenges, acme.Close
		c.notAfter = func() time.Time {
			if end := acme.NotAfter(); !end.IsZero() {
				return end
			}
			return time.Unix(0, 0)
		}
	case tlsFiles:
		pair, err := localtls.OpenPair(s.Cert, s.Key, s.Domain, time.Now, log)
		if err != nil {
			return nil, &cli.Hint{Err: fmt.Errorf("serve: %w", err), Hint: "--cert must be the server's certificate followed by its chain, --key its key, both PEM, of at most 64 KiB, and readable for this user"}
		}
		c.config, c.notAfter, c.warning, c.run = pair.Config(), pair.NotAfter, pair.Warning, pair.Run
	}
	return c, nil
}

// publicPort is the port that clients use for HTTPS, 0 for its own. Where plain HTTP
// is not on 80 itself, ports are forwarded, and 443 is among them.
func publicPort(d *doors) int {
	ports := []int{0, 0}
	for i, addr := range []string{d.public.Addr().String(), d.plainAddr()} {
		if _, port, err := net.SplitHostPort(addr); err == nil {
			ports[i], _ = strconv.Atoi(port)
		}
	}
	if ports[1] != 80 || ports[0] == 443 {
		return 0
	}
	return ports[0]
}

// url is where clients find the server.
func (s *serve) url(a addresses) string {
	scheme := "https"
	if s.TLS == tlsOff {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(a.public)
	if err != nil {
		return scheme + "://" + a.public
	}
	ip := net.ParseIP(host)
	named := slices.IndexFunc(s.Domain, func(name string) bool { return localtls.CheckDomain(name) == nil })
	switch {
	case s.TLS == tlsACME: // whatever port is forwarded to ours, the authority has asked 443
		return scheme + "://" + s.Domain[0]
	case s.TLS == tlsFiles && named >= 0:
		host = s.Domain[named]
	case ip != nil && ip.IsUnspecified():
		host = "localhost" // no certificate is for [::]
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
