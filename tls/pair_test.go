package tls

import (
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pairFiles writes a new certificate and its key into dir.
func pairFiles(t *testing.T, dir string, c *clock, domains ...string) (certFile, keyFile string, cert *x509.Certificate) {
	t.Helper()
	l := open(t, t.TempDir(), c, domains...)
	key, err := x509.MarshalPKCS8PrivateKey(l.leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: l.leaf.Leaf.Raw},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, l.leaf.Leaf
}

func TestPairReload(t *testing.T) {
	dir, c, book := t.TempDir(), newClock(), newLogbook()
	certFile, keyFile, first := pairFiles(t, dir, c, "one.example")
	p, err := OpenPair(certFile, keyFile, []string{"one.example", "two.example"}, c.Now, slog.New(slog.NewTextHandler(book, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if find(book.String(), "certificate loaded", "one.example") == "" || find(book.String(), "level=WARN", "not for this domain", "domain=two.example") == "" ||
		find(book.String(), "level=WARN", "domain=one.example") != "" {
		t.Errorf("log at start:\n%s", book)
	}
	port := servePair(t, p)
	served := func() *x509.Certificate {
		t.Helper()
		conn, err := stdtls.Dial("tcp", "127.0.0.1:"+port, &stdtls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.ConnectionState().NegotiatedProtocol != "h2" {
			t.Error("no HTTP/2")
		}
		return conn.ConnectionState().PeerCertificates[0]
	}
	look := func(want *x509.Certificate, complaints int) {
		t.Helper()
		p.look()
		p.look() // the second has nothing new to say
		if !served().Equal(want) {
			t.Errorf("another certificate is served than that of %v", want.NotAfter)
		}
		if n := strings.Count(book.String(), "the former certificate stays"); n != complaints {
			t.Errorf("%d complaints, want %d:\n%s", n, complaints, book)
		}
	}
	look(first, 0)

	// A new pair comes in two steps.
	keep, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	_, _, second := pairFiles(t, dir, c, "one.example", "two.example")
	newKey, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	write := func(file string, data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(keyFile, keep)
	look(first, 1)
	write(keyFile, newKey)
	look(second, 1)

	write(certFile, []byte("no certificate"))
	look(second, 2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	look(second, 3)
	write(certFile, make([]byte, maxFile+1))
	look(second, 4)

	// One that has ended does not take the place of one that has not.
	c.add(-200 * day)
	pairFiles(t, dir, c, "one.example")
	c.add(200 * day)
	look(second, 5)
	if w := p.Warning(); w != "" {
		t.Errorf("warning %q", w)
	}
	c.add(85 * day)
	if w := p.Warning(); !strings.Contains(w, "ends at "+p.NotAfter().UTC().Format(time.RFC3339)) {
		t.Errorf("warning %q", w)
	}
	c.add(10 * day)
	if w := p.Warning(); !strings.Contains(w, "ended at") {
		t.Errorf("warning %q", w)
	}
	if strings.Contains(book.String(), "PRIVATE KEY") {
		t.Error("a key is in the log")
	}
}

func servePair(t *testing.T, p *Pair) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler(), TLSConfig: p.Config(), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var group sync.WaitGroup
	group.Go(func() { _ = s.ServeTLS(l, "", "") })
	t.Cleanup(func() {
		s.Close()
		group.Wait()
	})
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{stdtls.VersionTLS10, stdtls.VersionTLS11} {
		conn, err := stdtls.Dial("tcp", l.Addr().String(), &stdtls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err == nil {
			conn.Close()
			t.Errorf("%s is spoken", stdtls.VersionName(version))
		}
	}
	return port
}

// Reload looks at once, and not with the next tick.
func TestReloadOfAPair(t *testing.T) {
	dir, c, book := t.TempDir(), newClock(), newLogbook()
	certFile, keyFile, _ := pairFiles(t, dir, c, "one.example")
	p, err := OpenPair(certFile, keyFile, nil, c.Now, slog.New(slog.NewTextHandler(book, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, _, second := pairFiles(t, dir, c, "two.example")
	synctest.Test(t, func(t *testing.T) {
		p.again = make(chan struct{}, 1) // of the bubble
		ctx, cancel := context.WithCancel(t.Context())
		go p.Run(ctx)
		p.Reload()
		p.Reload()
		synctest.Wait()
		if !p.leaf().Equal(second) {
			t.Error("the new pair is not served")
		}
		cancel()
	})
}

func TestBadPairAtStart(t *testing.T) {
	c := newClock()
	certFile, keyFile, _ := pairFiles(t, t.TempDir(), c)
	_, otherKey, _ := pairFiles(t, t.TempDir(), c)
	for _, tt := range []struct{ cert, key, says string }{
		{certFile, otherKey, "are no pair"},
		{keyFile, certFile, "are no pair"},
		{certFile, keyFile + "x", "key: open " + keyFile + "x: no such file"},
		{certFile + "x", keyFile, "certificate: open " + certFile + "x: no such file"},
		{t.TempDir(), keyFile, "is a directory"},
	} {
		if _, err := OpenPair(tt.cert, tt.key, nil, c.Now, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s %s: %v, want %q", tt.cert, tt.key, err, tt.says)
		}
	}
}
