package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Client returns the configuration of a client that trusts the certificates in
// caFile beside the system's. An error names the file; errors.Is sees
// fs.ErrNotExist.
func Client(caFile string) (*stdtls.Config, error) {
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("tls: CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without any is no reason to fail
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("tls: no certificate in %s; it must be a PEM file", caFile)
	}
	return &stdtls.Config{MinVersion: stdtls.VersionTLS12, RootCAs: pool}, nil
}
