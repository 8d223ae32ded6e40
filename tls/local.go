// Package tls makes the server's TLS configuration. It is the only package that deals with
// certificates. There are three sources of a certificate:
//
//	SelfSigned  a local CA, which needs nothing else
//	OpenACME    an authority on the internet, such as Let's Encrypt, by certmagic, on the
//	            server's own listeners and without the library's package-wide defaults
//	OpenPair    two files that are maintained outside of the server
//
// A certificate that has expired, or is missing, is a warning and doesn't make the server
// unready, which would take it out of service before its clients refuse it.
//
// SelfSigned makes its CA once and keeps it in a folder; clients get ca.pem. The CA signs
// the server's own certificate, the leaf, which is in memory only, and is made at each
// start and when a third of its lifetime is left.
package tls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	leafLife = 90 * 24 * time.Hour
	// backdated is how far a client's clock may be behind the server's.
	backdated = time.Hour
)

// Local serves certificates of a local CA. It is safe for concurrent use.
type Local struct {
	caFile string
	dns    []string
	ips    []net.IP
	now    func() time.Time
	log    *slog.Logger

	mu   sync.Mutex // guards what follows
	ca   *authority
	leaf *stdtls.Certificate
}

// SelfSigned opens the local CA in the folder dir, or makes the folder and the CA. The
// certificate is for localhost, 127.0.0.1, ::1, 0.0.0.0 and domains, which are host names
// in ASCII (*.example.com is one) or IP addresses. Errors name the file or the domain, and
// the fix.
func SelfSigned(dir string, domains []string, now func() time.Time, log *slog.Logger) (*Local, error) {
	l := &Local{caFile: filepath.Join(dir, certName), now: now, log: log}
	for _, name := range append([]string{"localhost", "127.0.0.1", "::1", "0.0.0.0"}, domains...) {
		if err := l.addName(name); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	ca, err := openAuthority(dir, now(), log)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	l.ca = ca
	if l.leaf, err = l.newLeaf(now()); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return l, nil
}

// Config returns the server's configuration. A certificate that is renewed while
// the server runs is used by new connections.
func (l *Local) Config() *stdtls.Config {
	return &stdtls.Config{
		MinVersion:     stdtls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: l.certificate,
	}
}

// NotAfter returns when the certificate of a new connection expires.
func (l *Local) NotAfter() time.Time {
	cert, _ := l.certificate(nil)
	return cert.Leaf.NotAfter
}

// CAFile returns the path of the CA's certificate, for curl --cacert.
func (l *Local) CAFile() string { return l.caFile }

// certificate is the GetCertificate of Config. It renews the leaf, and the CA, when a
// handshake finds that it is time. Disk errors are logged and don't fail the handshake.
func (l *Local) certificate(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	// Before NotBefore: the leaf was made while the clock was ahead.
	if now.Before(l.leaf.Leaf.NotBefore) || l.leaf.Leaf.NotAfter.Sub(now) <= leafLife/3 {
		if err := l.renew(now); err != nil {
			l.log.Error("certificate not renewed", "err", err, "ends", l.leaf.Leaf.NotAfter)
		}
	}
	return l.leaf, nil
}

func (l *Local) renew(now time.Time) error {
	if !l.ca.lasts(now) {
		ca, err := l.ca.renew(now)
		if err != nil {
			return err
		}
		l.ca = ca
		if err := ca.replace(filepath.Dir(l.caFile), l.log); err != nil {
			l.log.Error("renewed local CA not saved; the next start renews it again", "err", err)
		}
	}
	leaf, err := l.newLeaf(now)
	if err != nil {
		return err
	}
	l.leaf = leaf
	l.log.Info("certificate renewed", "ends", leaf.Leaf.NotAfter)
	return nil
}

func (l *Local) newLeaf(now time.Time) (*stdtls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	keyID, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{ // nil serial: a random one
		Subject:      pkix.Name{CommonName: "inturn"},
		NotBefore:    now.Add(-backdated),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     l.dns,
		IPAddresses:  l.ips,
		SubjectKeyId: keyID,
	}, l.ca.cert, &key.PublicKey, l.ca.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return &stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func (l *Local) addName(name string) error {
	if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
		if !slices.ContainsFunc(l.ips, net.IP(ip.AsSlice()).Equal) {
			l.ips = append(l.ips, ip.AsSlice())
		}
		return nil
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if name = strings.ToLower(name); !slices.Contains(l.dns, name) {
		l.dns = append(l.dns, name)
	}
	return nil
}

// CheckName returns an error if name is neither a host name nor an IP address that a
// certificate can be for.
func CheckName(name string) error {
	if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
		return nil
	}
	if err := checkHost(name); err != nil {
		return fmt.Errorf("domain %.300q: %w", name, err)
	}
	return nil
}

// checkHost returns an error if clients would not match a host name in a certificate (RFC
// 5280, section 4.2.1.6, and RFC 9525, section 6.3). It allows _, which host names of
// containers have.
func checkHost(name string) error {
	const want = "must be a host name in ASCII (xn--… for others) or an IP address, without scheme, port or final dot"
	if len(name) > 253 {
		return errors.New("is longer than 253 bytes")
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(name, "*."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New(want)
		}
		for _, c := range label {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return errors.New(want)
			}
		}
	}
	return nil
}
