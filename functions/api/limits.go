package api

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

var rateLimited = kind{"rate-limited", http.StatusTooManyRequests, "Too many events of this client_id", 1}

// maxRates bounds the client_ids whose rate is remembered. Past it the one that was
// silent longest is forgotten and begins with a full burst again.
const maxRates = 1 << 16

// rates is the rate of each client_id: a bucket of burst events that fills with
// perSecond. Repeats count: they cost as much.
type rates struct {
	perSecond rate.Limit
	burst     int

	mu      sync.Mutex
	buckets *simplelru.LRU[string, *rate.Limiter]
}

// newRates returns nil, which is no limit, for 0 events a second. A burst of 0 is
// what comes in one second.
func newRates(perSecond float64, burst int) *rates {
	if perSecond <= 0 {
		return nil
	}
	if burst <= 0 {
		burst = max(1, int(math.Ceil(perSecond)))
	}
	buckets, _ := simplelru.NewLRU[string, *rate.Limiter](maxRates, nil) // it fails for no size only
	return &rates{perSecond: rate.Limit(perSecond), burst: burst, buckets: buckets}
}

// quota is what is left of a client_id's bucket.
type quota struct {
	ok    bool
	left  int           // events that would be taken now
	wait  time.Duration // until the next one is taken, where this one was not
	reset time.Duration // until the bucket is full
}

// take takes one event of the client_id's bucket if there is one.
func (r *rates) take(clientID string, now time.Time) quota {
	r.mu.Lock()
	l, ok := r.buckets.Get(clientID)
	if !ok {
		l = rate.NewLimiter(r.perSecond, r.burst)
		r.buckets.Add(clientID, l)
	}
	r.mu.Unlock()
	ok = l.AllowN(now, 1)
	tokens := l.TokensAt(now)
	q := quota{ok: ok, left: max(0, int(tokens)), reset: r.fill(float64(r.burst) - tokens)}
	if !ok {
		q.wait = r.fill(1 - tokens)
	}
	return q
}

// fill is how long so many events take to come into a bucket.
func (r *rates) fill(events float64) time.Duration {
	return time.Duration(max(0, events) / float64(r.perSecond) * float64(time.Second))
}

// header says what is left (draft-ietf-httpapi-ratelimit-headers-10). Both values are lists
// of RFC 9651 that are printed by hand: it is done for each event, and by httpsfv takes 32
// allocations in place of 8.
func (r *rates) header(h http.Header, q quota) {
	h.Set("RateLimit-Policy", `"client";q=`+strconv.Itoa(r.burst)+`;w=`+strconv.Itoa(seconds(r.fill(float64(r.burst)))))
	h.Set("RateLimit", `"client";r=`+strconv.Itoa(q.left)+`;t=`+strconv.Itoa(seconds(q.reset)))
}

// seconds returns d in seconds, rounded up, so that a client that comes then is not refused
// again.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

func (q quota) problem() *problem {
	p := rateLimited.withDetail("nothing was stored: this client_id sends faster than it may")
	p.retryAfter = max(1, seconds(q.wait))
	return p
}

// allowRate says 429 for a single event beyond its client_id's rate. g.rates is not nil.
func (g *ingestion) allowRate(x *exchange, clientID string) error {
	q := g.rates.take(clientID, g.now())
	g.rates.header(x.Header(), q)
	if !q.ok {
		return q.problem()
	}
	return nil
}

// allowRate says 429 for one event of many, where the ingester can't wait for as long as
// it takes. On a stream, which is never told to come back, it waits.
func (t *ingester) allowRate(ctx context.Context, clientID string) *problem {
	if t.rates == nil {
		return nil
	}
	for {
		q := t.rates.take(clientID, t.now())
		switch {
		case q.ok:
			return nil
		case t.patience != forever:
			return q.problem()
		}
		select {
		case <-time.After(q.wait):
		case <-ctx.Done():
			return nil // the write will fail
		case <-t.stopping:
			return nil
		}
	}
}

// Bounds of Retry-After where the backlog is full, in seconds.
const (
	minBacklogRetry = 1
	maxBacklogRetry = 60
)

// backlogRetry is how long the backlog takes to be worked off at the pace of the last
// seconds: after that all events that are refused now can be taken.
func backlogRetry(runnable int, perSecond float64) int {
	if perSecond <= 0 {
		return maxBacklogRetry
	}
	return int(min(max(math.Ceil(float64(runnable)/perSecond), minBacklogRetry), maxBacklogRetry))
}
