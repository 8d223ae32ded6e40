package proofs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// client sends events as any HTTPS client would, each request that runs at the same
// time on a connection of its own.
type client struct {
	http *http.Client
	out  atomic.Int64 // requests that are sent and not answered
}

// dial makes a client that trusts the local CA in dir, which a server has made.
func dial(t testing.TB, dir string) *client {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("ca.pem holds no certificate")
	}
	c := &client{http: &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
			MaxIdleConnsPerHost: 1024,
			WriteBufferSize:     1024, ReadBufferSize: 1024,
		},
	}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// answer is what a server said about an event.
type answer struct {
	Status     int    `json:"-"`
	RetryAfter int    `json:"-"` // seconds
	Seq        int64  `json:"seq"`
	State      string `json:"state"`
	Duplicate  bool   `json:"duplicate"`
	Type       string `json:"type"` // of a problem
	Detail     string `json:"detail"`
	Warning    string `json:"warning"` // of readiness
}

// taken reports whether the server has promised to keep the event.
func (a answer) taken() bool { return a.Status == http.StatusAccepted || a.Status == http.StatusOK }

// problem is the name of the problem, "" for none.
func (a answer) problem() string { return strings.TrimPrefix(a.Type, "urn:inturn:problem:") }

// post sends one event. An error means that there was no whole answer.
func (c *client) post(ctx context.Context, url string, ev event, header ...string) (answer, error) {
	const written, over = 1, 2
	var state atomic.Int32 // the transport may tell when the request is over already
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil && state.CompareAndSwap(0, written) {
			c.out.Add(1)
		}
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/events", strings.NewReader(ev.body()))
	if err != nil {
		return answer{}, err
	}
	r.GetBody = nil // an answer that is missing is the sender's concern, not the transport's
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := c.do(r)
	if state.Swap(over) == written {
		c.out.Add(-1)
		if err != nil {
			err = &unansweredError{err}
		}
	}
	return a, err
}

// unansweredError says that the request was sent whole and no answer came.
type unansweredError struct{ error }

func (e *unansweredError) Unwrap() error { return e.error }

func (c *client) do(r *http.Request) (answer, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: resp.StatusCode}
	a.RetryAfter, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, fmt.Errorf("answer %d %q: %w", resp.StatusCode, body, err)
	}
	return a, nil
}

// get asks for path.
func (c *client) get(ctx context.Context, url string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	return c.do(r)
}

// event is what a sender sends, and what it knows about it.
type event struct {
	client, id, typ string
	payload         string
	n               int // the sender's own counter within the client, from 0

	seq   int64 // answered, 0 for not yet
	tries int   // requests for it
	maybe bool  // a request for it had no answer, or one that leaves it open
}

func (e event) body() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"client_id":%q,"message_id":%q,"type":%q,"payload":%s}`, e.client, e.id, e.typ, e.payload)
	return b.String()
}

// workEvent takes so long.
func workEvent(client string, n int, takes time.Duration) event {
	return event{client: client, id: "w" + strconv.Itoa(n), typ: "work", n: n,
		payload: fmt.Sprintf(`{"ms":%d,"n":%d}`, takes.Milliseconds(), n)}
}

// messageEvent is one whose text is its counter. Phones are few, so that clients share
// them.
func messageEvent(client string, n, phone int) event {
	return event{client: client, id: "m" + strconv.Itoa(n), typ: "message", n: n,
		payload: fmt.Sprintf(`{"phone":"+7000000%04d","text":"%d"}`, phone, n)}
}

// long reports whether ev is its account's long one.
func (e event) long() bool { return e.typ == "work" && e.n == longCounter }
