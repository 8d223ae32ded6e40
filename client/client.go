// Package client sends events to inturn, and serves the calls that inturn makes.
//
// What is sent is sent until it is answered: after a broken connection, an answer that
// broke off, and every answer that says to come back later (408, 429, 5xx), for as long as the
// context allows. An event keeps its message_id through all of that, so nothing runs
// twice; and no event of an account is sent before the one before it is answered, so
// nothing is overtaken.
//
//	c, err := client.New("https://localhost:8443", client.Options{Token: token, CA: pem})
//	receipt, err := c.Post(ctx, client.Event{ClientID: "alice", MessageID: "1", Type: "order", Payload: payload})
//
// Post sends one event, Wait awaits its result, Batch and Stream send many. Verify checks
// a call that inturn makes of a webhook function, and Emit answers it with events.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options of New.
type Options struct {
	// Token is the bearer token, "" for none. It is sent to the server of New only.
	Token string
	// CA is PEM with the certificates to trust in place of the system's: the ca.pem that
	// `inturn serve` writes.
	CA []byte
	// HTTP is used in place of a client that is made of CA. It must speak HTTP/1.1, as
	// WebSocket does, and should follow no redirects.
	HTTP *http.Client
	// Retrying is called before each wait with its reason. An error that it returns ends
	// the call, which then returns that error. Without it only the context ends a call.
	Retrying func(reason error) error
}

// Client sends events to one server. It is safe for concurrent use; events of one account
// that are posted concurrently are accepted in any order.
type Client struct {
	base     string
	token    string
	http     *http.Client
	retrying func(error) error
}

// ErrPlainHTTP is returned where an http address leads to a server that speaks HTTPS.
var ErrPlainHTTP = errors.New("the server speaks HTTPS, and was asked without")

// Bounds of a request and of waits between two.
const (
	requestTimeout = 2 * time.Minute // the server may hold an answer for a result, at most a minute
	firstWait      = 200 * time.Millisecond
	longestWait    = 5 * time.Second
	maxRetryAfter  = 10 * time.Second // the server means a longer one to be a guess
)

// New returns a client of the server at address, such as https://localhost:8443.
func New(address string, o Options) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, fmt.Errorf("client: %q is not the address of a server, such as https://localhost:8443", address)
	}
	c := &Client{base: strings.TrimRight(address, "/"), token: o.Token, http: o.HTTP, retrying: o.Retrying}
	if c.retrying == nil {
		c.retrying = func(error) error { return nil }
	}
	if c.http == nil {
		c.http, err = newHTTP(o.CA)
	}
	return c, err
}

func newHTTP(ca []byte) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("client: CA holds no certificate in PEM")
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		Timeout:   requestTimeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, Protocols: protocols, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute},
		// A redirect would carry events and the token to a server that was not named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Close closes the connections that are kept for the next request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) header() http.Header {
	h := http.Header{}
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
	return h
}

// backoff is how long is waited between two tries of one call.
type backoff struct{ next time.Duration }

// wait waits before the next try: as long as the server said, else twice as long as before.
func (c *Client) wait(ctx context.Context, b *backoff, reason error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.retrying(reason); err != nil {
		return err
	}
	b.next = min(max(2*b.next, firstWait), longestWait)
	after := b.next
	if p, ok := errors.AsType[*Problem](reason); ok && p.RetryAfter > 0 {
		after = min(p.RetryAfter, maxRetryAfter)
	}
	t := time.NewTimer(after)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads the header (RFC 9110, section 10.2.3) where it is a number of seconds;
// 0 where it is not.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.Atoi(header)
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}
