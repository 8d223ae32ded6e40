package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

func postAs(h http.Handler, client, id string) (int, http.Header) {
	w := request(h, "POST", "/v1/events", strings.NewReplacer(`"a"`, `"`+client+`"`, `"1"`, `"`+id+`"`).Replace(goodEvent))
	return w.Code, w.Header()
}

// A client_id that sends faster than it may is told when to come back, and holds
// nobody else up.
func TestClientRate(t *testing.T) {
	now := time.Now()
	h := newAPI(t, Options{ClientRate: 2, ClientBurst: 3, Now: func() time.Time { return now }})
	for i, left := range []string{`"client";r=2;t=1`, `"client";r=1;t=1`, `"client";r=0;t=2`} {
		status, header := postAs(h, "fast", fmt.Sprint(i))
		if status != 202 || header.Get("RateLimit") != left || header.Get("RateLimit-Policy") != `"client";q=3;w=2` || header.Get("Retry-After") != "" {
			t.Errorf("event %d: %d %v", i, status, header)
		}
	}
	w := request(h, "POST", "/v1/events", strings.Replace(goodEvent, `"a"`, `"fast"`, 1))
	wantProblem(t, w, 429, "rate-limited")
	if w.Header().Get("Retry-After") != "1" || w.Header().Get("RateLimit") != `"client";r=0;t=2` {
		t.Errorf("refused with %v", w.Header())
	}
	if status, _ := postAs(h, "other", "1"); status != 202 {
		t.Errorf("another client_id: %d", status)
	}
	now = now.Add(time.Second) // Retry-After is true
	for i, want := range []int{202, 202, 429} {
		if status, _ := postAs(h, "fast", fmt.Sprint("later", i)); status != want {
			t.Errorf("event %d after a second: %d, want %d", i, status, want)
		}
	}
	batch := `[` + strings.Replace(goodEvent, `"a"`, `"b"`, 1)
	for i := range 4 {
		batch += `,` + strings.NewReplacer(`"a"`, `"b"`, `"1"`, fmt.Sprintf(`"b%d"`, i)).Replace(goodEvent)
	}
	w = request(h, "POST", "/v1/events", batch+`]`)
	if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, `"accepted":3`) || strings.Count(body, "rate-limited") != 1 || strings.Count(body, "not-attempted") != 1 {
		t.Errorf("batch: %d %s", w.Code, body)
	}
	if status, header := postAs(newAPI(t, Options{}), "a", "1"); status != 202 || header["Ratelimit"] != nil {
		t.Errorf("without a limit: %d %v", status, header)
	}
}

// A stream waits instead of being told to come back.
func TestClientRateOnStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ingester := &ingester{ingestion: &ingestion{now: time.Now, rates: newRates(1, 1)}, patience: forever}
		begin := time.Now()
		for range 3 {
			if p := ingester.allowRate(t.Context(), "a"); p != nil {
				t.Error(p)
			}
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("three events at one a second took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p := ingester.allowRate(ctx, "a"); p != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("a stream that ended: %v", p)
		}
	})
}

// However many client_ids come, memory is bounded; one that comes all the time is
// not forgotten.
func TestRatesAreBounded(t *testing.T) {
	r, now := newRates(0.001, 1), time.Now()
	if !r.take("always", now).ok {
		t.Error("the first event is refused")
	}
	for i := range 3 * maxRates {
		r.take(fmt.Sprint(i), now)
		if i%1000 == 0 && r.take("always", now).ok {
			t.Fatalf("forgotten after %d others", i)
		}
		if n := r.buckets.Len(); n > maxRates {
			t.Fatalf("%d are remembered", n)
		}
	}
}

func TestBacklogRetry(t *testing.T) {
	for _, c := range []struct {
		runnable  int
		perSecond float64
		want      int
	}{{100, 0, 60}, {100, 10, 10}, {101, 10, 11}, {1, 1000, 1}, {0, 5, 1}, {1_000_000, 3, 60}} {
		if got := backlogRetry(c.runnable, c.perSecond); got != c.want {
			t.Errorf("%d at %v/s: %d, want %d", c.runnable, c.perSecond, got, c.want)
		}
	}
	store := &fakeStore{err: fmt.Errorf("x: %w", db.ErrBacklogFull)}
	w := request(newAPI(t, Options{Store: store}), "POST", "/v1/events", goodEvent)
	wantProblem(t, w, 503, "backlog-full")
	if got := w.Header().Get("Retry-After"); got != "30" { // 300 at 10 a second
		t.Errorf("Retry-After %s", got)
	}
}

func requestTo(h http.Handler, host, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	return request(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = host
		h.ServeHTTP(w, r)
	}), method, target, body, headers...)
}

// Foreign names and other sites' pages are refused, whatever way in.
func TestGuard(t *testing.T) {
	set, err := functions.NewSet(append(testSet(t).All(), functions.HTTP("POST /hooks/x",
		func(*http.Request) (functions.Event, error) { return functions.Event{}, errors.New("reached") }))...)
	if err != nil {
		t.Fatal(err)
	}
	h := newAPI(t, Options{Functions: set, Hosts: []string{"in.example.com"}})
	open := newAPI(t, Options{Functions: set})
	for _, c := range []struct {
		target, host, origin, site string
		want, anyHost              int
	}{
		{"/v1/events", "in.example.com", "", "", 202, 202}, {"/v1/events", "IN.example.com.:8443", "", "", 202, 202},
		{"/v1/events", "localhost:8443", "", "", 202, 202}, {"/v1/events", "[::1]:8443", "", "", 202, 202}, {"/v1/events", "127.0.0.1", "", "", 202, 202},
		{"/v1/events", "evil.example", "", "", 421, 202}, {"/v1/events", "in.example.com.evil.example", "", "", 421, 202},
		{"/hooks/x", "evil.example", "", "", 421, 400},
		{"/v1/events", "localhost", "https://localhost", "", 202, 202},
		{"/v1/events", "localhost", "https://evil.example", "", 403, 403}, {"/v1/events", "localhost", "", "cross-site", 403, 403},
		{"/v1/events", "localhost", "null", "", 403, 403}, {"/v1/events", "localhost", "", "same-origin", 202, 202},
		{"/hooks/x", "localhost", "https://evil.example", "", 403, 403},
	} {
		for handler, want := range map[*http.Handler]int{&h: c.want, &open: c.anyHost} {
			var headers []string
			if c.origin != "" {
				headers = append(headers, "Origin", c.origin)
			}
			if c.site != "" {
				headers = append(headers, "Sec-Fetch-Site", c.site)
			}
			w := requestTo(*handler, c.host, "POST", c.target, goodEvent, headers...)
			if w.Code == 200 {
				w.Code = 202 // a repeat
			}
			if w.Code != want {
				t.Errorf("%+v: %d, want %d: %s", c, w.Code, want, w.Body)
			}
		}
	}
}
