package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"inturn/internal/program"
)

// trouble does what the case says, once every call is under way. No call can end before.
func (s *scene) trouble() {
	s.t.Helper()
	defer s.proxy.open()
	if s.Trouble == "gone" {
		s.proxy.set(func(p *proxy) { p.target = "" })
		s.proxy.cut()
		return
	}
	if s.Trouble == "" {
		return
	}
	for _, c := range s.children {
		if c.name[len(c.name)-5:] != "batch" { // it speaks at its end
			<-c.first
		}
	}
	switch s.Trouble {
	case "restart", "kill":
		s.proxy.set(func(p *proxy) { p.target = "" })
		if s.Trouble == "kill" {
			s.server.Cmd.Process.Kill()
			s.server.End(s.t)
		} else if status := s.server.Stop(s.t); status != 0 {
			s.t.Errorf("the server ended with status %d", status)
		}
		s.serve()
		s.proxy.set(func(p *proxy) { p.target = s.server.Listen })
	case "cut":
		s.proxy.set(func(p *proxy) { p.cutAfter = 4000 })
		s.proxy.cut()
	case "half":
		s.proxy.halfClose()
	case "token":
		if r := program.Run(s.t, s.dir, nil, "token", "revoke", "first", "--token-file", "tokens.json"); r.Status != 0 {
			s.t.Fatalf("token revoke: %+v", r)
		}
		s.server.Wait(s.t, "tokens reloaded")
		s.proxy.open()
		for _, c := range s.children { // each ends by itself
			<-c.ended
		}
		s.token = s.newToken("second")
		s.server.Wait(s.t, "tokens reloaded")
	case "certificate", "authority":
		s.replaceCertificate()
	default:
		s.t.Fatalf("nobody knows the trouble %q", s.Trouble)
	}
}

func (s *scene) replaceCertificate() {
	s.t.Helper()
	a := s.authority
	if s.Trouble == "authority" {
		a = newAuthority(s.t, s.path("other.pem"))
	}
	a.issue(s.path("cert.pem"), s.path("key.pem"))
	s.server.Wait(s.t, "certificate loaded")
	s.proxy.open()
	s.proxy.cut()
	if s.Trouble == "authority" {
		for _, c := range s.children {
			<-c.ended
		}
		if err := os.Rename(s.path("other.pem"), s.path("ca.pem")); err != nil {
			s.t.Fatal(err)
		}
	}
}

// authority makes certificates for localhost.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority and writes its certificate.
func newAuthority(t *testing.T, file string) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	var der []byte
	der, a.key = a.make(template, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert = cert
	a.write(file, "CERTIFICATE", der)
	return a
}

// issue writes a new certificate with its key.
func (a *authority) issue(certFile, keyFile string) {
	a.t.Helper()
	der, key := a.make(&x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature}, a.cert)
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(keyFile, "EC PRIVATE KEY", keyDER)
	a.write(certFile, "CERTIFICATE", der)
}

// make completes a template and signs it, by itself where parent is nil.
func (a *authority) make(template, parent *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	template.Subject = pkix.Name{CommonName: "certificate " + serial.String()}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	signer := a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}
