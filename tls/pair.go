package tls

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// pairEvery is how often Run checks the files for changes.
const pairEvery = 2 * time.Second

// Pair serves a certificate from two files, and loads it again when the files change. It
// is safe for concurrent use.
type Pair struct {
	certFile, keyFile string
	domains           []string
	now               func() time.Time
	log               *slog.Logger

	again chan struct{} // wakes Run
	cert  atomic.Pointer[stdtls.Certificate]
	seen  []byte // the content of the files; only Run's goroutine has it after OpenPair
}

// OpenPair reads a certificate with its chain, and its key, both PEM. Errors name the
// file. A certificate that has expired, or is for none of the domains, is served, and
// logged as a warning.
func OpenPair(certFile, keyFile string, domains []string, now func() time.Time, log *slog.Logger) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, domains: domains, now: now, log: log, again: make(chan struct{}, 1)}
	cert, seen, err := p.read()
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o007 != 0 {
		log.Warn("every user of this machine can read the key", "file", keyFile, "mode", fmt.Sprintf("%#o", info.Mode().Perm()))
	}
	p.use(cert, seen)
	return p, nil
}

// read returns the pair and the content of both files. The content is returned with an
// error as well, so that the same files are not reported twice.
func (p *Pair) read() (*stdtls.Certificate, []byte, error) {
	certPEM, err := readBounded(p.certFile)
	if err != nil {
		return nil, []byte(err.Error()), fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := readBounded(p.keyFile)
	if err != nil {
		return nil, []byte(err.Error()), fmt.Errorf("key: %w", err)
	}
	seen := bytes.Join([][]byte{certPEM, keyPEM}, []byte{0})
	cert, err := stdtls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, seen, fmt.Errorf("%s and %s are no pair: %w", p.certFile, p.keyFile, err)
	}
	return &cert, seen, nil
}

func (p *Pair) use(cert *stdtls.Certificate, seen []byte) {
	p.cert.Store(cert)
	p.seen = seen
	p.log.Info("certificate loaded", "file", p.certFile, "ends", cert.Leaf.NotAfter, "names", cert.Leaf.DNSNames)
	for _, name := range p.domains {
		if err := cert.Leaf.VerifyHostname(name); err != nil {
			p.log.Warn("the certificate is not for this domain", "domain", name, "err", err)
		}
	}
	if w := p.Warning(); w != "" {
		p.log.Warn(w, "file", p.certFile)
	}
}

// Run loads the files when they change, until ctx ends. A pair that is not valid is not
// used, and logged once.
func (p *Pair) Run(ctx context.Context) {
	tick := time.NewTicker(pairEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.look()
		case <-p.again:
			p.look()
		case <-ctx.Done():
			return
		}
	}
}

// Reload makes Run check the files now.
func (p *Pair) Reload() {
	select {
	case p.again <- struct{}{}:
	default: // a check is due already
	}
}

func (p *Pair) look() {
	cert, seen, err := p.read()
	if bytes.Equal(seen, p.seen) {
		return
	}
	if err == nil {
		if now := p.now(); now.After(cert.Leaf.NotAfter) && !now.After(p.leaf().NotAfter) {
			err = fmt.Errorf("%s: the new certificate has ended at %s", p.certFile, cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if err != nil {
		// One of the two files is replaced, and the other is not yet: the next check has both.
		p.log.Error("the certificate's files are not good: the former certificate stays", "err", err)
		p.seen = seen
		return
	}
	p.use(cert, seen)
}

func (p *Pair) leaf() *x509.Certificate { return p.cert.Load().Leaf }

// Config returns the server's configuration.
func (p *Pair) Config() *stdtls.Config {
	return &stdtls.Config{
		MinVersion: stdtls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
			return p.cert.Load(), nil
		},
	}
}

// NotAfter returns when the certificate expires.
func (p *Pair) NotAfter() time.Time { return p.leaf().NotAfter }

// Warning returns a text for people if the certificate is about to expire, else "".
func (p *Pair) Warning() string { return warning(p.certFile, p.leaf(), p.now()) }
