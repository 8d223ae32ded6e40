// Package webhook makes functions of HTTP endpoints, in any language: each event is
// POSTed to its type's endpoint, and the answer decides.
//
//	event --> circuit --> POST, signed --> endpoint
//	             |                            |
//	             | it is down                 +-- 2xx                  done; the answer is the result,
//	             |                            |                        or CloudEvents, which are emitted
//	             v                            +-- 400, 413, 415, 422   dead
//	         Postpone: waits,                 +-- 410                  the account is parked
//	         no attempt is counted            +-- 429, 503 + Retry-After   again, then
//	                                          +-- all else, no answer  again with backoff, then the policy
//
// The body is a CloudEvent 1.0 in structured mode, because what is signed is the body:
// so the signature covers the event's attributes too. It is the same, byte for byte, in
// every attempt. Beside the headers of Standard Webhooks
// (https://www.standardwebhooks.com) there are
//
//	Inturn-Attempt  1 for the first attempt of a run
//	Inturn-Fence    greater than in any earlier call of this database; compare it as text
//	Inturn-Seq      the event's place in the database
//	traceparent, tracestate, X-Request-ID   of the request that brought the event
//
// An event can arrive more than once, with the same webhook-id. What guards the order
// at the endpoint against calls that were given up (a time limit, a takeover by another
// process) and arrive late is the fence: an endpoint that keeps the greatest one for each
// account and does nothing for a smaller one is never overtaken. It is the owner's epoch
// and a counter: the epoch grows by a commit, so no clock is in it. Turn and attempt would
// not do, as attempts begin anew after a crash.
//
// An answer that is one CloudEvent or a batch is appended in the transaction that
// settles the event, as by Tx.Emit: so the events are there once, if and only if the
// event is done. Its result is their receipts.
//
// The package uses the same interface as every function: work is one POST, and the effect
// is its answer. Of the engine it needs Park and Postpone; the latter is kept
// in memory only, because ten thousand accounts may say it again and again while an
// endpoint is down. MaxConcurrent is by type, the circuit and the connections are by URL.
package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"inturn/functions"
)

// Options of New.
type Options struct {
	MaxConcurrent int           // calls at the same time, of one type
	Timeout       time.Duration // of one attempt, from the connection to the end of the answer
	Version       string        // for User-Agent
	// Secrets are those of the types, by type: see Secrets.
	Secrets map[string][]string
	// Epoch is asked at each call and returns a number that every owner of the database
	// has greater than the one before.
	Epoch func() int64
	Log   *slog.Logger
	// Before are those that the new ones replace, or nil. What is known of an endpoint that
	// stays goes on: its connections, whether it is down, how much of its rate is used.
	Before *Webhooks
}

// maxRetryAfter bounds Retry-After.
const maxRetryAfter = time.Hour

// Webhooks are the functions that call endpoints.
type Webhooks struct {
	o         Options
	calls     *atomic.Int64 // so far, for the fence
	functions []functions.Function
	endpoints map[string]*endpoint // by URL: types that share one share its circuit
	types     map[string]*endpoint
}

// ErrNoSecret says that events would leave this machine unsigned.
var ErrNoSecret = errors.New("there is no secret to sign with")

// New makes a function for each target. Beyond loopback a target without a secret is
// refused: a forged event would look the same.
func New(targets []Target, o Options) (*Webhooks, error) {
	before := o.Before
	if before == nil {
		before = &Webhooks{calls: &atomic.Int64{}}
	}
	o.Before = nil
	w := &Webhooks{o: o, calls: before.calls, endpoints: map[string]*endpoint{}, types: map[string]*endpoint{}}
	for _, t := range targets {
		if len(t.Secrets) == 0 {
			t.Secrets = o.Secrets[t.Type]
		}
		if len(t.Secrets) == 0 && !t.local {
			return nil, fmt.Errorf("function %q: its endpoint %s is beyond loopback, and %w", t.Type, t.origin(), ErrNoSecret)
		}
		sign, err := newSigner(t.Secrets)
		if err != nil {
			return nil, fmt.Errorf("function %q: %w", t.Type, err)
		}
		t.MaxConcurrent, t.Timeout = cmp.Or(t.MaxConcurrent, o.MaxConcurrent), cmp.Or(t.Timeout, o.Timeout)
		w.functions = append(w.functions, w.function(t, w.endpoint(t, before), sign))
	}
	return w, nil
}

// endpoint returns the endpoint of a type. Types that have the URL share its connections and
// its circuit, which are those of before where it had the URL.
func (w *Webhooks) endpoint(t Target, before *Webhooks) *endpoint {
	url := t.url.String()
	shared := w.endpoints[url]
	if old := before.endpoints[url]; shared == nil && old != nil && old.insecure == t.insecure {
		shared = old
	}
	if shared == nil {
		shared = newEndpoint(t, t.MaxConcurrent)
		shared.circuit = newCircuit(w.o.Log.With("endpoint", t.origin()))
	}
	w.endpoints[url] = shared
	e := *shared
	e.timeout, e.limiter = t.Timeout, newLimiter(t.Rate)
	if old := before.types[t.Type]; old != nil && old.limiter.sameRate(t.Rate) {
		e.limiter = old.limiter
	}
	w.types[t.Type] = &e
	return &e
}

func (w *Webhooks) function(t Target, e *endpoint, sign signer) functions.Function {
	// The runner's own limit is only a net: a call ends by itself.
	t.Policy.Timeout = t.Timeout + 10*time.Second
	f := functions.New(t.Type,
		func(ctx context.Context, ev functions.Event, _ json.RawMessage) (functions.Effect, error) {
			return w.work(ctx, ev, e, sign)
		},
		functions.MaxConcurrent(t.MaxConcurrent), functions.WithPolicy(t.Policy))
	e.policy = f.Policy()
	return f
}

// Functions returns the functions, one for each type.
func (w *Webhooks) Functions() []functions.Function { return w.functions }

// Down says of each type whether its endpoint is down: its accounts wait, and are tried
// one by one.
func (w *Webhooks) Down() map[string]bool {
	down := make(map[string]bool, len(w.types))
	for typ, e := range w.types {
		down[typ] = e.circuit.isOpen()
	}
	return down
}

// Close closes the connections that are idle.
func (w *Webhooks) Close() { w.CloseUnless(&Webhooks{}) }

// CloseUnless closes the idle connections of those endpoints that are not others' too.
func (w *Webhooks) CloseUnless(others *Webhooks) {
	for url, e := range w.endpoints {
		if kept := others.endpoints[url]; kept == nil || kept.client != e.client {
			e.client.CloseIdleConnections()
		}
	}
}

var errRate = errors.New("the endpoint has its rate of calls: waiting for the turn, no attempt is counted")

var errDown = errors.New("the endpoint is down: waiting for it, no attempt is counted")

// work is one attempt.
func (w *Webhooks) work(ctx context.Context, ev functions.Event, e *endpoint, sign signer) (functions.Effect, error) {
	if wait := e.limiter.wait(ev.ClientID, time.Now()); wait > 0 {
		return nil, functions.Postpone(wait, errRate)
	}
	if wait := e.circuit.admit(ev.ClientID, ev.Attempt); wait > 0 {
		return nil, functions.Postpone(wait, errDown)
	}
	body, trace, err := encode(ev)
	if err != nil {
		return nil, functions.Reject(err)
	}
	r := w.request(e, ev, body, trace)
	if err := sign.sign(r.Header, deliveryID(ev), time.Now(), body); err != nil {
		return nil, err
	}
	a := e.post(ctx, r, ev)
	if ctx.Err() != nil && a.err != nil {
		return nil, a.err // told to stop: it says nothing about the endpoint
	}
	if retry, ok := errors.AsType[*functions.RetryError](a.err); ok {
		// Not before what the policy would have waited at least: an endpoint that says "1"
		// for a minute must not use up the attempts.
		retry.After = max(retry.After, leastWait(e.policy, ev.Attempt))
	}
	e.circuit.report(a, ev.ClientID, ev.Attempt)
	if a.odd != nil {
		w.o.Log.Warn("an endpoint's answer is not JSON that all readers take: it is kept as a string", "why", a.odd.Error(),
			"type", ev.Type, "client_id", ev.ClientID, "message_id", ev.MessageID, "seq", ev.Seq)
	}
	switch {
	case a.err != nil:
		return nil, a.err
	case a.emits:
		return emit(a.events), nil
	case a.result == nil:
		return nil, nil
	}
	return func(functions.Tx) (any, error) { return a.result, nil }, nil
}

// fence is greater, as text, than in any call before: the owner's number first, then a
// counter.
func (w *Webhooks) fence() string { return fmt.Sprintf("%013d-%013d", w.o.Epoch(), w.calls.Add(1)) }
