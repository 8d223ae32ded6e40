package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const day = 24 * time.Hour

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, dir string, c *clock, domains ...string) *Local {
	t.Helper()
	l, err := SelfSigned(dir, domains, c.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// leaf is what a new connection would get.
func leaf(t *testing.T, l *Local) *x509.Certificate {
	t.Helper()
	cert, err := l.Config().GetCertificate(&stdtls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func readCert(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		t.Fatalf("%s is not one certificate", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// client is the configuration of a client that trusts ca.pem and nothing else.
func client(t *testing.T, l *Local) *stdtls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(readCert(t, l.CAFile()))
	return &stdtls.Config{RootCAs: pool}
}

// verify does what a client with ca.pem does.
func verify(cert, ca *x509.Certificate, name string, now time.Time) error {
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	_, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: now})
	return err
}

func serve(t *testing.T, l *Local) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// Not httptest: it adds a certificate of its own.
	s := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello over %s", r.Proto) }),
		TLSConfig:         l.Config(),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		group.Wait()
	})
	_, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// tool skips a test whose tool is missing, where that is allowed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("INTURN_NEED") != "" {
		t.Fatalf("%s is not installed and INTURN_NEED=all", name)
	}
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func TestNames(t *testing.T) {
	c := newClock()
	l := open(t, t.TempDir(), c, "Events.Example.com", "*.apps.example.com", "192.0.2.7", "localhost", "my_host")
	cert, ca := leaf(t, l), readCert(t, l.CAFile())
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "0.0.0.0", "events.example.com", "a.apps.example.com", "192.0.2.7", "my_host"} {
		if err := verify(cert, ca, name, c.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"example.com", "other.example.com", "a.b.apps.example.com", "192.0.2.8", "127.0.0.2"} {
		if err := verify(cert, ca, name, c.Now()); err == nil {
			t.Errorf("the certificate is good for %s", name)
		}
	}
	if len(cert.DNSNames) != 4 || len(cert.IPAddresses) != 4 {
		t.Errorf("names are doubled: %v %v", cert.DNSNames, cert.IPAddresses)
	}
}

func TestBadDomains(t *testing.T) {
	for _, name := range []string{"", ".", "a.", "a..b", "https://a.example", "a.example:8443", "a b", "müller.example", "*", "a.*.example", "-a.example", "fe80::1%lo", "a\x00b", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		_, err := SelfSigned(t.TempDir(), []string{name}, time.Now, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("domain %q", name)) {
			t.Errorf("domain %q: got %v", name, err)
		}
	}
}

func TestClientRefusesWrongNameAndUnknownCA(t *testing.T) {
	l := open(t, t.TempDir(), newClock())
	port := serve(t, l)
	good, other := client(t, l), client(t, open(t, t.TempDir(), newClock()))
	dial := func(config *stdtls.Config, name string) error {
		config = config.Clone()
		config.ServerName = name
		conn, err := stdtls.Dial("tcp", "127.0.0.1:"+port, config)
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(good, "localhost"); err != nil {
		t.Errorf("right name, right CA: %v", err)
	}
	if err := dial(good, "example.com"); !asError[x509.HostnameError](err) {
		t.Errorf("wrong name: got %v", err)
	}
	if err := dial(other, "localhost"); !asError[x509.UnknownAuthorityError](err) {
		t.Errorf("another CA: got %v", err)
	}
}

func TestProtocols(t *testing.T) {
	l := open(t, t.TempDir(), newClock())
	port := serve(t, l)
	for _, tt := range []struct {
		version uint16
		ok      bool
	}{{stdtls.VersionTLS10, false}, {stdtls.VersionTLS11, false}, {stdtls.VersionTLS12, true}, {stdtls.VersionTLS13, true}} {
		config := client(t, l)
		config.MinVersion, config.MaxVersion = tt.version, tt.version
		config.NextProtos = []string{"http/1.1", "h2"}
		conn, err := stdtls.Dial("tcp", "127.0.0.1:"+port, config)
		if tt.ok != (err == nil) {
			t.Errorf("%s: got %v", stdtls.VersionName(tt.version), err)
		}
		if err != nil {
			continue
		}
		if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
			t.Errorf("%s: protocol %q, want the server's first choice", stdtls.VersionName(tt.version), p)
		}
		conn.Close()
	}
}

func TestCertificateFields(t *testing.T) {
	c := newClock()
	l := open(t, t.TempDir(), c)
	cert, ca := leaf(t, l), readCert(t, l.CAFile())
	if !ca.IsCA || !ca.MaxPathLenZero || ca.MaxPathLen != 0 {
		t.Errorf("CA: IsCA %v, path length %d", ca.IsCA, ca.MaxPathLen)
	}
	if cert.IsCA || len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("leaf: IsCA %v, usage %v", cert.IsCA, cert.ExtKeyUsage)
	}
	if len(ca.SubjectKeyId) == 0 || !bytes.Equal(cert.AuthorityKeyId, ca.SubjectKeyId) || bytes.Equal(cert.SubjectKeyId, ca.SubjectKeyId) {
		t.Errorf("key ids: CA %x, leaf %x signed by %x", ca.SubjectKeyId, cert.SubjectKeyId, cert.AuthorityKeyId)
	}
	if d := ca.NotAfter.Sub(c.Now()); d < 3649*day || d > 3650*day {
		t.Errorf("CA ends in %v", d)
	}
	if d := cert.NotAfter.Sub(c.Now()); d < 89*day || d > 90*day {
		t.Errorf("leaf ends in %v", d)
	}
	again := leaf(t, open(t, filepath.Dir(l.CAFile()), c))
	for _, n := range []int{cert.SerialNumber.BitLen(), ca.SerialNumber.BitLen()} {
		if n < 64 {
			t.Errorf("serial number of %d bits", n)
		}
	}
	if cert.SerialNumber.Cmp(again.SerialNumber) == 0 {
		t.Error("two leaves have one serial number")
	}
}

// TestOrdinaryClients asks the strictest checker at hand, and curl on sockets.
func TestOrdinaryClients(t *testing.T) {
	l := open(t, t.TempDir(), newClock())
	t.Run("openssl", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "leaf.pem")
		data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf(t, l).Raw})
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool(t, "openssl"), "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost", "-CAfile", l.CAFile(), file).CombinedOutput()
		if err != nil {
			t.Errorf("openssl: %v\n%s", err, out)
		}
	})
	t.Run("curl", func(t *testing.T) {
		curl, port := tool(t, "curl"), serve(t, l)
		for _, host := range []string{"localhost", "127.0.0.1"} {
			out, err := exec.Command(curl, "--silent", "--show-error", "--noproxy", "*", "--cacert", l.CAFile(), "https://"+host+":"+port).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "hello over HTTP/") {
				t.Errorf("%s: %v\n%s", host, err, out)
			}
		}
		const wrongName = 60 // CURLE_PEER_FAILED_VERIFICATION
		cmd := exec.Command(curl, "--silent", "--noproxy", "*", "--cacert", l.CAFile(), "--resolve", "example.com:"+port+":127.0.0.1", "https://example.com:"+port)
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != wrongName {
			t.Errorf("wrong name: %v, want exit status %d", err, wrongName)
		}
	})
}
