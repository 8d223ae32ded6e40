package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "0": 0, "2": 2 * time.Second, "86400": time.Hour, "Wed, 21 Oct 2015 07:28:00 GMT": 0,
	} {
		if got := retryAfter(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// The wait is at least what the server said and has a bound; the caller can end it.
func TestPostWaitsAsTheServerSays(t *testing.T) {
	var asked atomic.Int64
	var first atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			first.Store(time.Now().UnixNano())
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if waited := time.Since(time.Unix(0, first.Load())); waited < time.Second {
			t.Errorf("it came back after %v", waited)
		}
		_, _ = w.Write([]byte(`{"state":"pending"}`))
	}))
	defer server.Close()
	c, err := New(server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Post(t.Context(), Event{ClientID: "a", Payload: []byte("1")}); err != nil || r.State != "pending" || asked.Load() != 2 {
		t.Errorf("%+v, %v after %d requests", r, err, asked.Load())
	}

	enough := errors.New("enough")
	c, err = New("http://127.0.0.1:1", Options{Retrying: func(error) error { return enough }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Post(t.Context(), Event{ClientID: "a", Payload: []byte("1")}); !errors.Is(err, enough) {
		t.Errorf("Retrying said enough: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	c, err = New("http://127.0.0.1:1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Post(ctx, Event{ClientID: "a", Payload: []byte("1")}); !errors.Is(err, enough) {
		t.Errorf("the context ended: %v", err)
	}
}

// What can't be sent is refused here, in each way of sending, and holds its account.
func TestWhatIsNoJSONIsRefused(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	c, err := New(server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	bad := Event{ClientID: "a", MessageID: "1", Payload: []byte(`{"a":1,"a":2}`)}
	if _, err := c.Post(t.Context(), bad); !invalid(err) {
		t.Errorf("Post: %v", err)
	}
	answers, err := c.Batch(t.Context(), []Event{bad, {ClientID: "a", MessageID: "2", Payload: []byte(`1`)}})
	if err != nil || len(answers) != 2 || !invalid(answers[0].Problem) || !answers[1].Problem.NotAttempted() {
		t.Errorf("Batch: %+v, %v", answers, err)
	}
}

func invalid(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == http.StatusBadRequest && p.Name == "invalid-event"
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{"", "localhost:8443", "wss://localhost", "https://", "ftp://x"} {
		if _, err := New(address, Options{}); err == nil || !strings.Contains(err.Error(), "is not the address of a server") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := New("https://localhost", Options{CA: []byte("x")}); err == nil {
		t.Error("a CA that is none was taken")
	}
}
