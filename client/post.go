package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
)

// Post sends an event until it is accepted, and returns its receipt. Errors: *Problem
// where it is refused, a failure to verify the server's certificate, ErrPlainHTTP, what
// Options.Retrying returned, or the context's. After any but the first the event may have
// been taken; sending it again is safe.
func (c *Client) Post(ctx context.Context, ev Event) (Receipt, error) { return c.post(ctx, ev, 0) }

// Wait is Post that waits until the event is done or dead too.
func (c *Client) Wait(ctx context.Context, ev Event) (Receipt, error) {
	if _, p := ev.body(); p != nil { // it has an id from now on
		return Receipt{}, p
	}
	for {
		if r, err := c.post(ctx, ev, holdResult); err != nil || r.Finished() {
			return r, err
		}
	}
}

// holdResult is how long the server holds an answer for its result, in seconds.
const holdResult = 30

func (c *Client) post(ctx context.Context, ev Event, hold int) (r Receipt, err error) {
	body, p := ev.body()
	if p != nil {
		return r, p
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if hold > 0 {
		header.Set("Prefer", "wait="+strconv.Itoa(hold))
	}
	var b backoff
	for {
		text, err := c.once(ctx, header, body)
		if err == nil {
			err = readReceipt(text, &r)
			if err == nil {
				return r, nil
			}
		}
		if final(err) {
			return Receipt{}, err
		}
		if err := c.wait(ctx, &b, err); err != nil {
			return Receipt{}, err
		}
	}
}

func readReceipt(text []byte, r *Receipt) error {
	if err := jsonv2.Unmarshal(text, r); err != nil {
		return fmt.Errorf("the answer can't be read: %w", err)
	}
	return nil
}

// final reports whether sending the same again can't end otherwise.
func final(err error) bool {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return true
	}
	p, refused := errors.AsType[*Problem](err)
	return refused && !p.Temporary() || errors.Is(err, ErrPlainHTTP)
}

// once sends body to /v1/events and returns the body of an answer of 2xx.
func (c *Client) once(ctx context.Context, header http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = c.header()
	maps.Copy(req.Header, header)
	// net/http may send it again over another connection, where a kept one turns out to be closed.
	req.Header["Idempotency-Key"] = nil
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("the answer broke off: %w", err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted {
		return nil, readProblem(resp, text)
	}
	return text, nil
}

const maxAnswer = 64 << 20 // of a batch whose repeats have results

func readProblem(resp *http.Response, text []byte) error {
	if resp.StatusCode == http.StatusBadRequest && resp.TLS == nil && resp.Header.Get("Content-Type") == "" {
		return ErrPlainHTTP // net/http says so; a server's own answers are problems
	}
	var a answer
	_ = jsonv2.Unmarshal(text, &a) // the status says enough
	if a.Type == urn+"https-required" {
		return ErrPlainHTTP
	}
	if a.Type == "" {
		a.Type = urn
	}
	a.Status = resp.StatusCode
	_, p := a.of(&Event{})
	if p == nil { // another program's problem
		p = &Problem{Status: resp.StatusCode, Title: a.Title, Detail: a.Detail}
	}
	p.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return p
}

// Answer is what became of an event of many: a receipt, or a problem where it was refused.
type Answer struct {
	Receipt Receipt
	Problem *Problem
}

// Bounds of one request of a batch; the server's own are above.
const (
	batchEvents = 500
	batchBytes  = 1 << 20
)

// Batch sends events and returns an answer for each, in their order. The events of an
// account are accepted in that order: after one that is refused the later ones of its
// account are not attempted. An error, as of Post, says that the rest could not be sent;
// the answers until then come with it.
func (c *Client) Batch(ctx context.Context, events []Event) ([]Answer, error) {
	events = slices.Clone(events)
	answers := make([]Answer, 0, len(events))
	refused := map[string]bool{}
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && n < batchEvents {
			body, _ := events[n].body() // batch says what is wrong with it
			if size += len(body); n > 0 && size > batchBytes {
				break
			}
			n++
		}
		some, err := c.batch(ctx, events[:n], refused)
		if err != nil {
			return answers, err
		}
		answers = append(answers, some...)
		events = events[n:]
	}
	return answers, nil
}

// batch sends events of one request, and again those that are to come back later.
func (c *Client) batch(ctx context.Context, events []Event, refused map[string]bool) ([]Answer, error) {
	answers, open := make([]Answer, len(events)), make([]int, 0, len(events))
	for i := range events {
		ev := &events[i]
		_, p := ev.body()
		if refused[ev.ClientID] {
			p = notAttempted()
		}
		if p == nil {
			open = append(open, i)
			continue
		}
		answers[i].Problem, refused[ev.ClientID] = p, true
	}
	var b backoff
	for len(open) > 0 {
		later, reason, err := c.tryBatch(ctx, events, open, answers, refused)
		if err != nil {
			return nil, err
		}
		if len(later) < len(open) {
			b = backoff{}
		}
		if open = later; len(open) == 0 {
			break
		}
		if err := c.wait(ctx, &b, reason); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// tryBatch sends the open events once, and returns those that must be sent again with the reason.
func (c *Client) tryBatch(ctx context.Context, events []Event, open []int, answers []Answer, refused map[string]bool) (later []int, reason, err error) {
	body := []byte{'['}
	for i, at := range open {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, events[at].Body...)
	}
	text, err := c.once(ctx, http.Header{"Content-Type": {"application/json"}}, append(body, ']'))
	if final(err) {
		return nil, nil, err
	}
	if err != nil {
		return open, err, nil
	}
	var said struct {
		Results []answer `json:"results"`
	}
	if err := jsonv2.Unmarshal(text, &said); err != nil || len(said.Results) != len(open) {
		return nil, nil, fmt.Errorf("the answer can't be read: %d results for %d events: %w", len(said.Results), len(open), err)
	}
	waits := map[string]bool{} // accounts that have an event which comes back later
	for i, at := range open {
		ev := &events[at]
		r, p := said.Results[i].of(ev)
		if p != nil && (p.Temporary() || p.NotAttempted() && waits[ev.ClientID]) {
			if p.Temporary() {
				waits[ev.ClientID], reason = true, p
			}
			later = append(later, at)
			continue
		}
		answers[at] = Answer{r, p}
		refused[ev.ClientID] = refused[ev.ClientID] || p != nil
	}
	return later, reason, nil
}

// notAttempted is the problem of an event that the client itself did not send, as the server's would be.
func notAttempted() *Problem {
	return &Problem{Status: http.StatusFailedDependency, Name: "not-attempted", Title: "An earlier event was refused", Detail: "an earlier event of this account was refused, and this one was not sent"}
}
