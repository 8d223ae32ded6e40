package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"inturn/client"
)

// Client holds the flags by which a client command reaches a server.
type Client struct {
	URL      string `help:"Address of the server. Default: https://localhost:8443." default:"https://localhost:8443" env:"INTURN_URL" placeholder:"URL"`
	CACert   string `name:"cacert" help:"Trust this CA (PEM file) and no other. Without it: the system's, and the local CA in data/tls/ca.pem if it is there." env:"INTURN_CACERT" placeholder:"FILE"`
	Insecure bool   `help:"Don't verify the server's certificate." env:"INTURN_INSECURE"`
	Token    string `help:"Token of the caller." env:"INTURN_TOKEN" placeholder:"TOKEN"`
}

// requestTimeout is the longest wait of one request. The server may hold an answer for a result
// (Prefer: wait), so it is well above any wait that a command asks for.
const requestTimeout = 2 * time.Minute

// HTTP returns a client with a connection pool of its own, over HTTP/1.1. It sends
// the token to the host of URL only, and follows no redirects.
func (c Client) HTTP() (*http.Client, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, &Hint{
			Err:  fmt.Errorf("url %q: is not the address of a server", c.URL),
			Hint: "an address looks like https://localhost:8443",
		}
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &Hint{Err: errors.New("the token has characters that no token has"), Hint: "give it as `inturn token new` printed it, with --token or INTURN_TOKEN"}
	}
	tlsConfig, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   64,
		ExpectContinueTimeout: time.Second,
		Protocols:             protocols,
		TLSClientConfig:       tlsConfig,
	}
	made := &http.Client{
		Transport: transport,
		Timeout:   requestTimeout,
		// A redirect would carry events and the token to a server that wasn't named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if c.Token != "" {
		made.Transport = &authorised{host: base.Host, token: c.Token, Transport: transport}
	}
	return made, nil
}

// tlsConfig returns the client's TLS configuration, with the CAs that it trusts.
func (c Client) tlsConfig() (*tls.Config, error) {
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, InsecureSkipVerify: c.Insecure}, nil
}

// localCA is where `serve` with default flags keeps its CA.
var localCA = filepath.Join("data", "tls", "ca.pem")

// roots returns the CAs to trust, nil for the system's.
func (c Client) roots() (*x509.CertPool, error) {
	if c.Insecure {
		return nil, nil
	}
	if c.CACert != "" {
		pool := x509.NewCertPool()
		return pool, addCA(pool, c.CACert)
	}
	if _, err := os.Stat(localCA); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		// A minimal container has no system CAs; the local one is still good.
		pool = x509.NewCertPool()
	}
	return pool, addCA(pool, localCA)
}

func addCA(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cacert: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return &Hint{
			Err:  fmt.Errorf("cacert: %s: holds no certificate", file),
			Hint: "it must be a PEM file, such as the ca.pem that `inturn serve` writes",
		}
	}
	return nil
}

// unreached adds to the reason why there was no answer a hint for people.
func unreached(err error) error {
	if _, ok := errors.AsType[*Hint](err); ok {
		return err
	}
	if errors.Is(err, client.ErrPlainHTTP) {
		return errPlain
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return &Hint{Err: err, Hint: "the server speaks HTTP without TLS, as with --tls off: begin --url with http://"}
	}
	_, wrong := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, asking := errors.AsType[*url.Error](err)
	_, dialling := errors.AsType[*net.OpError](err)
	switch {
	case wrong || unknown:
		return &Hint{Err: err, Hint: "name the server's CA with --cacert or INTURN_CACERT (`inturn serve` writes ca.pem in the folder tls beside its database)"}
	case asking || dialling:
		return &Hint{Err: err, Hint: "is the server running, and is this its address? see --url and INTURN_URL"}
	}
	return err
}

// errPlain is for the answer of an HTTPS server to a plain HTTP request.
var errPlain = &Hint{Err: errors.New("the server speaks HTTPS, and was asked without"), Hint: "say https:// or wss:// in --url"}

// isPlain reports whether resp, which says no, is that answer (net/http's; ours are problems).
func isPlain(resp *http.Response) bool {
	return resp.StatusCode == http.StatusBadRequest && resp.TLS == nil && resp.Header.Get("Content-Type") == ""
}

// authorised adds the token to requests to one host. The transport is embedded so
// that http.Client.CloseIdleConnections reaches it.
type authorised struct {
	host, token string
	*http.Transport
}

func (a *authorised) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == a.host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	return a.Transport.RoundTrip(r)
}
