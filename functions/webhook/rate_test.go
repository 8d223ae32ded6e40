package webhook

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inturn/functions"
	"inturn/functions/functionstest"
)

// Accounts that want to call at once go one after another, each after one wait, in the
// order in which they asked, and in no second there are more calls than the rate says.
func TestCallsAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls, accounts = 10, 100
		l := newLimiter(calls)
		var went []time.Time
		var order []int
		asked := map[int]int{}
		again := map[int]time.Time{}
		ask := func(i int) {
			asked[i]++
			if wait := l.wait(fmt.Sprint(i), time.Now()); wait > 0 {
				again[i] = time.Now().Add(wait)
				return
			}
			delete(again, i)
			went, order = append(went, time.Now()), append(order, i)
		}
		for i := range accounts {
			ask(i)
		}
		for len(again) > 0 {
			time.Sleep(time.Millisecond)
			for i := range accounts {
				if at, waits := again[i]; waits && !time.Now().Before(at) {
					ask(i)
				}
			}
		}
		if !slices.IsSorted(order) || len(order) != accounts {
			t.Errorf("the order was %v", order)
		}
		for i := calls + 1; i < len(went); i++ {
			if d := went[i].Sub(went[i-calls-1]); d < time.Second {
				t.Fatalf("%d calls in %v", calls+2, d)
			}
		}
		for i, n := range asked {
			if n > 2 {
				t.Errorf("account %d has asked %d times", i, n)
			}
		}
		if took := went[accounts-1].Sub(went[0]); took > 10*time.Second {
			t.Errorf("%d calls took %v", accounts, took)
		}
		if len(l.turns) != 0 {
			t.Errorf("%d turns are left", len(l.turns))
		}
	})
}

// Turns are bounded, and those that nobody comes for are given up.
func TestTurnsAreBounded(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	l := newLimiter(1000)
	for i := range maxTurns + 100 {
		l.wait(fmt.Sprint(i), now)
	}
	if len(l.turns) > maxTurns {
		t.Errorf("%d turns", len(l.turns))
	}
	if wait := l.wait("one more", now); wait != maxTurnWait {
		t.Errorf("one more waits %v", wait)
	}
	now = now.Add(time.Hour)
	if wait := l.wait("one more", now); wait != 0 || len(l.turns) > 1 {
		t.Errorf("an hour later it waits %v beside %d turns", wait, len(l.turns))
	}
	if newLimiter(0).wait("a", now) != 0 {
		t.Error("no rate is a bound")
	}
	slow := newLimiter(1.0 / 3600)
	slow.wait("a", now)
	if wait := slow.wait("b", now); wait != maxTurnWait {
		t.Errorf("a wait of an hour is %v at once", wait)
	}
	if wait := slow.wait("b", now.Add(time.Minute)); wait != maxTurnWait {
		t.Errorf("after a minute it is %v", wait)
	}
	if wait := slow.wait("b", now.Add(time.Hour)); wait != 0 {
		t.Errorf("after an hour it is %v", wait)
	}
}

// A rate makes events wait, and no attempt fails of it.
func TestRateOfAnEndpoint(t *testing.T) {
	t.Parallel()
	const calls, accounts = 40, 30
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	target, err := ParseTarget("t", x.srv.URL, false)
	if err != nil {
		t.Fatal(err)
	}
	target.Rate, target.Policy.Attempts = calls, 1
	hooks, err := New([]Target{target}, x.hooks.o)
	if err != nil {
		t.Fatal(err)
	}
	e := functionstest.New(t, hooks.Functions()...)
	t.Cleanup(hooks.Close)
	begin := time.Now()
	for a := range accounts {
		e.Send(functions.Event{ClientID: fmt.Sprint(a), MessageID: "1", Type: "t", Payload: []byte("1")})
	}
	for a := range accounts {
		if got := e.Do(functions.Event{ClientID: fmt.Sprint(a), MessageID: "1", Type: "t", Payload: []byte("1")}); got.State != "done" || got.Result.Attempts != 1 {
			t.Errorf("account %d: %s %+v", a, got.State, got.Result)
		}
	}
	if took, least := time.Since(begin), time.Second*(accounts-2)/calls; took < least {
		t.Errorf("%d calls took %v, which is less than %v", accounts, took, least)
	}
}

// What replaces endpoints leaves those that stay as they are: the connections, the circuit
// and the rate; and the fence goes on.
func TestReplacedWebhooks(t *testing.T) {
	t.Parallel()
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	replace := func(before *Webhooks, rate float64, url string) *Webhooks {
		t.Helper()
		target, err := ParseTarget("t", url, false)
		if err != nil {
			t.Fatal(err)
		}
		target.Rate = rate
		o := x.hooks.o
		o.Before = before
		w, err := New([]Target{target}, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		return w
	}
	call := func(w *Webhooks, client string) error {
		_, err := w.Functions()[0].Work(t.Context(), functions.Event{ClientID: client, MessageID: "1", Type: "t", Attempt: 1, Payload: []byte("1")})
		return err
	}
	first := replace(nil, 0.001, x.srv.URL)
	if err := call(first, "a"); err != nil {
		t.Fatal(err)
	}
	second := replace(first, 0.001, x.srv.URL)
	first.CloseUnless(second)
	if err := call(second, "b"); err == nil || !strings.Contains(err.Error(), "rate") {
		t.Errorf("the rate begins anew: %v", err)
	}
	third := replace(second, 100, x.srv.URL)
	if err := call(third, "b"); err != nil {
		t.Errorf("a rate that was raised: %v", err)
	}
	third.types["t"].circuit.trip(nobody, time.Hour, time.Hour)
	fourth := replace(third, 100, x.srv.URL)
	if !fourth.Down()["t"] {
		t.Error("an endpoint that is down is forgotten")
	}
	if fifth := replace(fourth, 100, x.srv.URL+"/other"); fifth.Down()["t"] {
		t.Error("another endpoint is down with it")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conns != 1 || len(x.seen) != 2 {
		t.Fatalf("%d connections for %d calls", x.conns, len(x.seen))
	}
	if a, b := x.seen[0].header.Get("Inturn-Fence"), x.seen[1].header.Get("Inturn-Fence"); a >= b {
		t.Errorf("the fence %s is followed by %s", a, b)
	}
}

// A type has its own secrets, policy and bounds.
func TestTargetsOfTheirOwn(t *testing.T) {
	target, err := ParseTarget("t", "https://example.com/x", false)
	if err != nil {
		t.Fatal(err)
	}
	target.MaxConcurrent, target.Timeout, target.Secrets = 3, 2*time.Second, []string{secret('a')}
	target.Policy = functions.Policy{Attempts: 7, InitialBackoff: 4 * time.Second, MaxBackoff: 8 * time.Second, Jitter: -1, Exhausted: functions.ThenDead}
	other, err := ParseTarget("other", "https://example.com/x", false)
	if err != nil {
		t.Fatal(err)
	}
	w, err := New([]Target{target, other}, Options{MaxConcurrent: 64, Timeout: time.Minute, Secrets: map[string][]string{"other": {secret('b')}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f, o := w.Functions()[0], w.Functions()[1]
	if p := f.Policy(); f.MaxConcurrent() != 3 || p.Attempts != 7 || p.InitialBackoff != 4*time.Second || p.Exhausted != functions.ThenDead || p.Timeout != 12*time.Second || p.Jitter != 0 {
		t.Errorf("%d, %+v", f.MaxConcurrent(), p)
	}
	if p := o.Policy(); o.MaxConcurrent() != 64 || p.Attempts != 20 || p.InitialBackoff != time.Second || p.Timeout != 70*time.Second {
		t.Errorf("%d, %+v", o.MaxConcurrent(), p)
	}
	a, b := w.types["t"], w.types["other"]
	if a.client != b.client || a.circuit != b.circuit || a.timeout != 2*time.Second || b.timeout != time.Minute {
		t.Errorf("%+v, %+v", a, b)
	}
	if d := leastWait(a.policy, 5); d != 8*time.Second {
		t.Errorf("its least wait is %v", d)
	}
}
