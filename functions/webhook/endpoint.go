package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"inturn/functions"
)

// Bounds of a call, beside its time limit.
const (
	connectTimeout = 10 * time.Second // of looking the name up and connecting, and again of the handshake
	idleTimeout    = 90 * time.Second // of a connection that is kept for the next call
	pingAfter      = 15 * time.Second // HTTP/2: of silence; a connection that is dead is found out
	maxHeader      = 64 << 10
	maxRedirects   = 3
)

// endpoint is a URL, as a type calls it. Types share what stands in the first block.
type endpoint struct {
	url      string
	insecure bool
	client   *http.Client
	circuit  *circuit

	timeout time.Duration
	policy  functions.Policy
	limiter *limiter // nil: no bound
}

func newEndpoint(t Target, maxConcurrent int) *endpoint {
	dialer := &net.Dialer{Timeout: connectTimeout, Control: t.control}
	return &endpoint{url: t.url.String(), insecure: t.insecure, client: &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			// No proxy, whatever the environment says: it would look names up itself and
			// connect to addresses that were not checked.
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
			TLSHandshakeTimeout:    connectTimeout,
			MaxIdleConnsPerHost:    maxConcurrent,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // an answer is as long as it says
		},
	}}
}

// checkRedirect follows 307 and 308 on the same scheme, host and port: they ask for the
// same request again. Anything else would send the event, and a signature that is valid
// for minutes, to an address that the operator hasn't named.
func checkRedirect(r *http.Request, via []*http.Request) error {
	status, was := r.Response.StatusCode, via[0].URL
	same := r.URL.Scheme == was.Scheme && r.URL.Host == was.Host && r.URL.User == nil
	if (status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect) && same && len(via) <= maxRedirects {
		return nil
	}
	return http.ErrUseLastResponse
}

// request makes the request, unsigned.
func (w *Webhooks) request(e *endpoint, ev functions.Event, body []byte, t trace) *http.Request {
	r, err := http.NewRequest(http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		panic("webhook: a URL that was parsed can't be parsed: " + e.url)
	}
	h := r.Header
	h.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	h.Set("Accept", "application/json, application/cloudevents+json, application/cloudevents-batch+json, text/plain;q=0.9, */*;q=0.1")
	h.Set("User-Agent", "inturn/"+w.o.Version)
	h.Set("Inturn-Attempt", strconv.Itoa(ev.Attempt))
	h.Set("Inturn-Fence", w.fence())
	h.Set("Inturn-Seq", strconv.FormatInt(ev.Seq, 10))
	if t.parent != "" {
		h.Set("Traceparent", t.parent)
	}
	if t.state != "" {
		h.Set("Tracestate", t.state)
	}
	if visible(ev.RequestID, 128) {
		h.Set("X-Request-Id", ev.RequestID)
	}
	// It can be sent again on another connection, if the one that was kept turns out to
	// be closed: the webhook-id tells. net/http sends no header for a key without values.
	h["Idempotency-Key"] = []string{}
	return r
}

var errTimeout = errors.New("no whole answer in time")

// post sends r, which is ev's, and reads the answer.
func (e *endpoint) post(ctx context.Context, r *http.Request, ev functions.Event) answer {
	ctx, cancel := context.WithTimeoutCause(ctx, e.timeout, errTimeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	resp, err := e.client.Do(r.WithContext(ctx))
	if err != nil {
		a := answer{health: struggles, err: fmt.Errorf("no answer: %w", e.readable(ctx, err))}
		if !connected.Load() {
			a.health, a.err = unreachable, fmt.Errorf("no connection: %w", e.readable(ctx, err))
		}
		return a
	}
	defer resp.Body.Close()
	a, err := read(resp, ev)
	if err != nil {
		return answer{health: struggles, err: fmt.Errorf("the answer %d broke off: %w", resp.StatusCode, e.readable(ctx, err))}
	}
	return a
}

// readable takes the URL out of err, and says what ended the wait.
func (e *endpoint) readable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
		return fmt.Errorf("%w (%v)", errTimeout, e.timeout)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}
