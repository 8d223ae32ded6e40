package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"inturn/internal/atomicfile"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	// caMargin is how long before its expiry the CA is renewed. It is far more than
	// leafLife, so that no leaf outlives its CA and clients have time to get the new ca.pem.
	caMargin = 365 * 24 * time.Hour

	// keyName is the file with the key and the certificate. In one file both are of one CA,
	// however processes race or are killed. ca.pem is a copy of the certificate for clients.
	keyName  = "ca-key.pem"
	certName = "ca.pem"
)

// authority is the local CA. It has no name constraints: these would list the domains of
// the day it was made, and another domain would need another CA at every client.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// openAuthority reads the CA in folder dir, renews it if it is about to end, or
// makes it. Processes that start together end up with one CA.
func openAuthority(dir string, now time.Time, log *slog.Logger) (*authority, error) {
	if err := makePrivateFolder(dir); err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, keyName)
	ca, err := readAuthority(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if ca, err = newAuthority(now); err != nil {
			return nil, err
		}
		err = atomicfile.WriteNew(keyFile, ca.pem(), 0o600)
		if errors.Is(err, fs.ErrExist) { // another process was first
			ca, err = readAuthority(keyFile)
		}
	}
	if err != nil {
		return nil, err
	}
	if !ca.lasts(now) {
		if ca, err = ca.renew(now); err != nil {
			return nil, err
		}
		if err := ca.replace(dir, log); err != nil {
			return nil, err
		}
	}
	return ca, ca.publish(dir, log)
}

// replace saves a renewed CA. Two processes that renew at once may leave a ca.pem
// that isn't the newest: both certify the same key, so both work.
func (a *authority) replace(dir string, log *slog.Logger) error {
	log.Warn("local CA renewed with the same key: clients keep working until the end of the ca.pem they have; give them the new one", "ends", a.cert.NotAfter)
	if err := atomicfile.Write(filepath.Join(dir, keyName), a.pem(), 0o600); err != nil {
		return err
	}
	return a.publish(dir, log)
}

// publish writes ca.pem unless it is right already.
func (a *authority) publish(dir string, log *slog.Logger) error {
	file := filepath.Join(dir, certName)
	want := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err := atomicfile.Write(file, want, 0o644); err != nil {
		return err
	}
	log.Info("certificate of the local CA written", "file", file, "ends", a.cert.NotAfter)
	return nil
}

// lasts reports whether the CA is valid now and will be for the lifetime of a leaf.
func (a *authority) lasts(now time.Time) bool {
	return !now.Before(a.cert.NotBefore) && a.cert.NotAfter.Sub(now) > caMargin
}

func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	return (&authority{key: key}).renew(now)
}

// renew certifies the same key again under the same name, so that what is signed
// by the renewed CA is trusted by clients that have the former ca.pem.
func (a *authority) renew(now time.Time) (*authority, error) {
	id, err := keyID(&a.key.PublicKey)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{ // nil serial: a random one
		// The key's id keeps apart the CAs of several machines in one trust store.
		Subject:               pkix.Name{CommonName: "inturn local CA " + hex.EncodeToString(id[:4])},
		NotBefore:             now.Add(-backdated),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		SubjectKeyId:          id,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return &authority{key: a.key, cert: cert}, nil
}

// keyID returns a key's identifier, by method 1 of RFC 7093, section 2.
func keyID(key *ecdsa.PublicKey) ([]byte, error) {
	point, err := key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("make key id: %w", err)
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

func (a *authority) pem() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		panic(err) // P-256 can always be encoded
	}
	return append(
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
}

func readAuthority(keyFile string) (*authority, error) {
	data, err := readPrivateFile(keyFile)
	if err != nil {
		return nil, err
	}
	ca, err := parseAuthority(data)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; restore it, or move it away for a new CA, whose ca.pem clients then need", keyFile, err)
	}
	return ca, nil
}

func parseAuthority(data []byte) (*authority, error) {
	var ca authority
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("key: %w", err)
			}
			ca.key, _ = key.(*ecdsa.PrivateKey)
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate: %w", err)
			}
			ca.cert = cert
		}
	}
	switch {
	case ca.key == nil:
		return nil, errors.New("no ECDSA private key in it")
	case ca.cert == nil:
		return nil, errors.New("no certificate in it")
	case !ca.key.PublicKey.Equal(ca.cert.PublicKey):
		return nil, errors.New("the certificate is not of this key")
	}
	if err := ca.cert.CheckSignatureFrom(ca.cert); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &ca, nil
}
