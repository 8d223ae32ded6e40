package tls

import (
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// manageEvery is how often Run starts a new round for certificates that are missing. The
// library's own retries may have ended for good, as they do after a full disk.
const manageEvery = time.Hour

const acmeTLS = "acme-tls/1" // RFC 8737, section 6.2

// endedEvery is the shortest time between two rounds that handshakes with an expired
// certificate start.
const endedEvery = 10 * time.Minute

// ACMEOptions are the options of OpenACME.
type ACMEOptions struct {
	Domains []string // at least one; host names in ASCII
	Email   string   // for the authority to write to; may be ""
	Dir     string   // folder of account, keys and certificates; it is made

	CA       string // URL of the authority's directory; "": Let's Encrypt
	RootFile string // PEM file of the root certificates that the authority's own certificate is checked against; "": the system's

	// Public is the address that port 443 of every domain leads to. Plain is the one
	// that port 80 leads to and Challenges serves; nil: only 443 is used.
	Public, Plain net.Addr

	Now func() time.Time // nil: time.Now
	Log *slog.Logger

	// For tests.
	renewBefore float64                                   // the share of a certificate's lifetime that is left when it is renewed; 0: a third
	storage     func(certmagic.Storage) certmagic.Storage // wraps the folder
}

// ACME has a certificate for each domain from an authority that speaks ACME
// (RFC 8555), by the challenges HTTP-01 (RFC 8555, section 8.3) and TLS-ALPN-01
// (RFC 8737), and renews it when a third of its time is left. It is safe for
// concurrent use. Certificates are kept, and served while the authority is away.
type ACME struct {
	domains []string
	dir, ca string
	plain   bool
	cache   *certmagic.Cache
	config  *certmagic.Config
	issuer  *certmagic.ACMEIssuer
	now     func() time.Time
	log     *slog.Logger

	complained atomic.Int64  // Unix seconds; see certificate
	began      atomic.Int64  // Unix seconds when the last round began; see overdue
	early      chan struct{} // of cap 1: starts a round before its time
	window     float64       // the share of a certificate's lifetime that is left when it is renewed
}

// OpenACME opens the folder and loads the certificates in it. It makes no request to the
// authority; Run does. Errors name the option or file, and the fix. The caller must call
// Close.
func OpenACME(o ACMEOptions) (*ACME, error) {
	a := &ACME{dir: o.Dir, ca: o.CA, plain: o.Plain != nil, now: o.Now, log: o.Log, early: make(chan struct{}, 1),
		window: o.renewBefore}
	if a.window == 0 {
		a.window = certmagic.DefaultRenewalWindowRatio
	}
	if a.now == nil {
		a.now = time.Now
	}
	for _, name := range o.Domains {
		if err := CheckDomain(name); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		if name = strings.ToLower(name); !slices.Contains(a.domains, name) {
			a.domains = append(a.domains, name)
		}
	}
	if len(a.domains) == 0 {
		return nil, errors.New("tls: no domain to ask a certificate for")
	}
	if a.ca == "" {
		a.ca = certmagic.LetsEncryptProductionCA
	}
	roots, err := readRoots(o.RootFile)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if err := makePrivateFolder(o.Dir); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	a.open(o, roots)
	for _, name := range a.domains {
		switch _, err := a.config.CacheManagedCertificate(context.Background(), name); {
		case err == nil:
			a.log.Info("certificate loaded", "domain", name, "ends", a.leaf(name).NotAfter)
		case !errors.Is(err, fs.ErrNotExist):
			a.log.Error("the kept certificate can't be used; another one is asked for", "domain", name, "folder", o.Dir, "err", err)
		}
	}
	return a, nil
}

// open makes the library's cache, config and issuer. None of its package-wide defaults is
// used.
func (a *ACME) open(o ACMEOptions, roots *x509.CertPool) {
	logger := bridge(a.log)
	var storage certmagic.Storage = newStorage(o.Dir)
	if o.storage != nil {
		storage = o.storage(storage)
	}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		Logger:           logger,
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage:            storage,
		Logger:             logger,
		DefaultServerName:  a.domains[0], // for clients that name none
		RenewalWindowRatio: o.renewBefore,
		// Stapling asks the authority before a kept certificate is served, and authorities
		// have given up OCSP for short lives.
		OCSP:           certmagic.OCSPConfig{DisableStapling: true},
		OnEvent:        a.heard,
		ShouldEmitFunc: func(event string) bool { return event == obtained },
	})
	template := certmagic.ACMEIssuer{
		CA: a.ca, Email: o.Email, Agreed: true, TrustedRoots: roots, Logger: logger,
		AltTLSALPNPort: port(o.Public), ListenHost: host(o.Public),
		DisableHTTPChallenge: !a.plain, AltHTTPPort: port(o.Plain),
	}
	a.issuer = certmagic.NewACMEIssuer(a.config, template)
	a.config.Issuers = []certmagic.Issuer{newOrders{a.issuer}}
}

// newOrders is the library's issuer under another type. For its own type the library
// orders a renewal as the replacement of the previous certificate (RFC 9773, section 5).
// Authorities refuse that if the account is another one, so after a change of
// --acme-email no certificate could be renewed.
type newOrders struct{ *certmagic.ACMEIssuer }

const obtained = "cert_obtained" // an event of the library

func (a *ACME) heard(_ context.Context, event string, data map[string]any) error {
	if event == obtained {
		a.log.Info("certificate obtained", "domain", data["identifier"], "renewal", data["renewal"])
	}
	return nil
}

// Run obtains missing certificates and renews those that are about to expire, until ctx
// ends. Failures are logged and retried without limit.
func (a *ACME) Run(ctx context.Context) {
	tick := time.NewTicker(manageEvery)
	defer tick.Stop()
	a.run(ctx, tick.C)
}

func (a *ACME) run(ctx context.Context, again <-chan time.Time) {
	for {
		for _, name := range a.domains {
			if a.leaf(name) == nil {
				a.log.Warn("waiting for a certificate: handshakes fail until it is there", "domain", name, "authority", a.ca, "hint", a.challenges())
			}
		}
		a.began.Store(a.now().Unix())
		// A round ends the one before: its attempts would hold the names' locks.
		round, end := context.WithCancel(ctx)
		_ = a.config.ManageAsync(round, a.domains) // what can fail is logged in the background
		if err := a.cache.RenewManagedCertificates(round); err != nil {
			a.log.Error("renew certificates", "err", err)
		}
		select {
		case <-again:
			end()
		case <-a.early:
			a.log.Warn("a certificate has ended or is about to, and its renewal is overdue; the machine may have been suspended")
			end()
		case <-ctx.Done():
			end()
			return
		}
	}
}

func (a *ACME) challenges() string {
	if a.plain {
		return "the authority must reach this server on port 80 or 443 of the domain"
	}
	return "the authority must reach this server on port 443 of the domain"
}

// Close stops the goroutines that OpenACME started.
func (a *ACME) Close() { a.cache.Stop() }

// Config returns the server's configuration.
func (a *ACME) Config() *stdtls.Config {
	return &stdtls.Config{
		MinVersion:     stdtls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1", acmeTLS},
		GetCertificate: a.certificate,
	}
}

// certificate is the GetCertificate of Config. It answers TLS-ALPN-01 challenges and
// clients. For a name that is none of the domains, or has no certificate yet, it returns
// nil, for which crypto/tls sends the alert unrecognized_name.
func (a *ACME) certificate(hello *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
	name := hello.ServerName
	if name == "" {
		name = a.domains[0]
	}
	if !a.owns(name) {
		return nil, nil
	}
	if challenge := slices.Equal(hello.SupportedProtos, []string{acmeTLS}); !challenge {
		leaf := a.leaf(name)
		if leaf == nil {
			a.complain(name)
			return nil, nil
		}
		if a.overdue(leaf) {
			select {
			case a.early <- struct{}{}:
			default: // a round is about to begin
			}
		}
	}
	return a.config.GetCertificate(hello)
}

// overdue reports whether a certificate that is served should have been renewed by now.
// The library's timers stop while the machine is suspended; the wall clock does not.
func (a *ACME) overdue(leaf *x509.Certificate) bool {
	now := a.now()
	left, since := leaf.NotAfter.Sub(now), now.Unix()-a.began.Load()
	if left <= 0 {
		return since >= int64(endedEvery.Seconds())
	}
	return float64(left) < a.window*float64(leaf.NotAfter.Sub(leaf.NotBefore)) && since > int64(manageEvery.Seconds())+60
}

// complain logs that a client was turned away, at most once in ten seconds.
func (a *ACME) complain(name string) {
	now, last := a.now().Unix(), a.complained.Load()
	if now-last >= 10 && a.complained.CompareAndSwap(last, now) {
		a.log.Warn("handshake refused: the certificate is still awaited", "domain", strings.ToLower(name))
	}
}

func (a *ACME) owns(name string) bool {
	return slices.ContainsFunc(a.domains, func(d string) bool { return strings.EqualFold(d, strings.TrimSuffix(name, ".")) })
}

// Challenges returns a handler that answers the authority's HTTP-01 requests and passes all
// other requests to next.
func (a *ACME) Challenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if h, _, err := net.SplitHostPort(name); err == nil {
			name = h
		}
		if a.owns(name) && a.issuer.HandleHTTPChallenge(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// leaf returns the certificate that is served for a domain, nil if there is none yet.
func (a *ACME) leaf(domain string) *x509.Certificate {
	var last *x509.Certificate
	for _, c := range a.cache.AllMatchingCertificates(strings.ToLower(strings.TrimSuffix(domain, "."))) {
		if last == nil || c.Leaf.NotAfter.After(last.NotAfter) {
			last = c.Leaf
		}
	}
	return last
}

// NotAfter returns when the first of the certificates expires, the zero time if one is
// missing.
func (a *ACME) NotAfter() time.Time {
	var first time.Time
	for _, name := range a.domains {
		leaf := a.leaf(name)
		if leaf == nil {
			return time.Time{}
		}
		if first.IsZero() || leaf.NotAfter.Before(first) {
			first = leaf.NotAfter
		}
	}
	return first
}

// Warning returns a text for people that names the certificates that are missing or about
// to expire, "" if there are none.
func (a *ACME) Warning() string {
	var all []string
	for _, name := range a.domains {
		if w := warning(name, a.leaf(name), a.now()); w != "" {
			all = append(all, w)
		}
	}
	return strings.Join(all, "; ")
}

// warning returns a text about a certificate that is long overdue for renewal: less than a
// fifth of its lifetime is left.
func warning(name string, leaf *x509.Certificate, now time.Time) string {
	switch {
	case leaf == nil:
		return "there is no certificate for " + name + " yet"
	case now.After(leaf.NotAfter):
		return "the certificate for " + name + " ended at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	case leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/5:
		return "the certificate for " + name + " ends at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

// CheckDomain returns an error if a certificate for name can't be obtained by HTTP-01 or
// TLS-ALPN-01.
func CheckDomain(name string) error {
	_, noIP := netip.ParseAddr(name)
	switch err := checkHost(name); {
	case noIP == nil:
		return fmt.Errorf("domain %q: must be a host name, not an address", name)
	case strings.HasPrefix(name, "*."):
		return fmt.Errorf("domain %.300q: must not have a wildcard, which HTTP-01 and TLS-ALPN-01 can't prove: name each host", name)
	case err != nil:
		return fmt.Errorf("domain %.300q: %w", name, err)
	case !strings.Contains(name, "."):
		return fmt.Errorf("domain %q: must be a name that the authority can look up, such as events.example.com", name)
	}
	return nil
}

// readRoots reads a PEM file of certificates. It returns nil if file is "".
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("root: %s: there is no certificate in it; it must be a PEM file", file)
	}
	return pool, nil
}

func port(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

func host(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		return tcp.IP.String()
	}
	return ""
}
