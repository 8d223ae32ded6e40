package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inturn/db"
	"inturn/functions/functionstest"
)

// by makes an endpoint that answers each account as its name says: "429-…" and "503-…"
// with Retry-After, "500-…" without, any other with 200.
func by(w http.ResponseWriter, account string) {
	switch status, _, _ := strings.Cut(account, "-"); status {
	case "429":
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	case "503":
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusServiceUnavailable)
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// attempt is one attempt of an account's event.
func (x *fixture) attempt(client string, n int) string {
	x.t.Helper()
	ev := tea
	ev.ClientID, ev.Attempt = client, n
	_, err := x.do(ev)
	return outcome(err)
}

// A customer whose accounts the endpoint limits, or can't serve, holds his accounts and
// nobody else's, however many they are and however often they fail.
func TestFailingAccountsHoldThemselvesOnly(t *testing.T) {
	for _, status := range []string{"429", "500", "503"} {
		t.Run(status, func(t *testing.T) {
			x := newAccountsFixture(t, by)
			if got := x.attempt("well-0", 1); got != "done" {
				t.Fatal(got)
			}
			for round := 1; round <= 4; round++ {
				for i := range 5 * trips {
					if got := x.attempt(fmt.Sprint(status, "-", i), round); !strings.HasPrefix(got, "retry") {
						t.Errorf("round %d: a failing account's attempt: %s", round, got)
					}
				}
				if x.hooks.Down()["t"] {
					t.Errorf("round %d: the endpoint is said to be down", round)
				}
				for i := range 20 {
					if got := x.attempt(fmt.Sprint("well-", round, "-", i), 1); got != "done" {
						t.Errorf("round %d: a healthy account: %s", round, got)
					}
				}
			}
		})
	}
}

// Where nothing was ever found well, accounts that fail open the circuit, and the first
// account that has not failed closes it: it doesn't wait, and they open it never again.
func TestTheFirstHealthyAccountClosesTheCircuit(t *testing.T) {
	for _, status := range []string{"500", "503"} {
		t.Run(status, func(t *testing.T) {
			x := newAccountsFixture(t, by)
			for i := range trips {
				if got := x.attempt(fmt.Sprint(status, "-", i), 1); !strings.HasPrefix(got, "retry") {
					t.Fatal(got)
				}
			}
			if !x.hooks.Down()["t"] {
				t.Error("nobody has found it well, and it isn't down")
			}
			if got := x.attempt(status+"-0", 2); got != "postpone" {
				t.Errorf("an account that has failed: %s", got)
			}
			if got := x.attempt("well", 1); got != "done" {
				t.Errorf("the first healthy account: %s", got)
			}
			for n := 2; n < 6; n++ {
				for i := range trips {
					x.attempt(fmt.Sprint(status, "-", i), n)
				}
				if x.hooks.Down()["t"] {
					t.Fatal("the same accounts have opened the circuit again")
				}
			}
		})
	}
}

// newAccountsFixture has an endpoint that answers each account by its name.
func newAccountsFixture(t *testing.T, answer func(w http.ResponseWriter, account string)) *fixture {
	var x *fixture
	x = newFixture(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		x.mu.Lock()
		defer x.mu.Unlock()
		var ev struct{ Source string }
		if err := json.Unmarshal([]byte(x.seen[len(x.seen)-1].body), &ev); err != nil {
			t.Error(err)
		}
		answer(w, ev.Source)
	})
	return x
}

// While a hundred accounts' calls hang, accounts whose calls ended well before are served:
// their events are settled, and the others still hang.
func TestHangingAccountsLeavePlaces(t *testing.T) {
	t.Parallel()
	const places, accounts = 64, 20
	var hanging atomic.Int64
	release := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	x := newFixture(t, Options{MaxConcurrent: places}, func(http.ResponseWriter, *http.Request) {})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var ev struct{ PartitionKey string }
		if err := json.NewDecoder(r.Body).Decode(&ev); err != nil {
			t.Error(err)
		}
		if strings.HasPrefix(ev.PartitionKey, "hang") {
			hanging.Add(1)
			<-release
			hanging.Add(-1)
		}
	}))
	t.Cleanup(srv.Close)
	x.call(srv.URL, Options{MaxConcurrent: places})
	e := functionstest.New(t, x.hooks.Functions()...)
	t.Cleanup(x.hooks.Close)
	t.Cleanup(goOn) // also where the test fails
	for i := range accounts {
		e.Do(send(fmt.Sprint("well", i), "before"))
	}
	var sent []db.Receipt
	for i := range 100 {
		sent = append(sent, e.Send(send(fmt.Sprint("hang", i), "1")))
	}
	for hanging.Load() < places*7/8 {
		time.Sleep(time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal("the calls don't begin")
		}
	}
	for i := range accounts {
		e.Do(send(fmt.Sprint("well", i), "beside"))
	}
	if n := hanging.Load(); n != places*7/8 {
		t.Errorf("%d calls hang, want %d", n, places*7/8)
	}
	goOn()
	for _, r := range sent {
		e.Wait(r)
	}
}
