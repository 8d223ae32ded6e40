package runner

import (
	"context"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

// counted compares what is counted as it happens with what the lanes show, and with
// what is pending. The rig's store must not be in the middle of a commit.
func (g *rig) counted() {
	g.t.Helper()
	g.fakeStore.mu.Lock()
	defer g.fakeStore.mu.Unlock()
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if err := g.r.schedule.Verify(); err != nil {
		g.t.Error(err)
	}
	s := g.r.schedule.Stats()
	for c, pending := range g.pending {
		if len(pending) > 0 && (s.Free == 0 || s.Free > pending[0].Position) && (s.Blocked == 0 || s.Blocked > pending[0].Position) {
			g.t.Errorf("the oldest heads are said to be %d and %d, that of %s is %d", s.Free, s.Blocked, c, pending[0].Position)
		}
	}
}

// heard is an Observer.
type heard struct {
	mu     sync.Mutex
	worked map[string]time.Duration
	ended  map[Outcome]int
	lags   []time.Duration
}

func (h *heard) Worked(typ string, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.worked[typ] += took
}

func (h *heard) Ended(_ string, as Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended[as]++
}

func (h *heard) Done(lag time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lags = append(h.lags, lag)
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{worked: map[string]time.Duration{}, ended: map[Outcome]int{}}
		once := functions.WithPolicy(functions.Policy{Attempts: 1})
		g := newRig(t, Options{InFlight: 16, Pollers: 2, Observer: h},
			fn("works", func(context.Context, db.Event) error { time.Sleep(time.Second); return nil }),
			fn("fails", func(_ context.Context, ev db.Event) error {
				if ev.Attempt > 1 {
					return nil
				}
				return functions.Retry(time.Hour, errTest)
			}),
			fn("rejects", func(context.Context, db.Event) error { return functions.Reject(errTest) }),
			fn("ends", func(context.Context, db.Event) error { return errTest }, once),
		).start(nil, false)
		g.settle()
		if s := g.r.Stats(); s.Busy != 0 || s.Pollers != 2 || s.FreePosition != 0 || s.BlockedPosition != 0 {
			t.Errorf("idle: %+v", s)
		}
		g.commit(event("rejects", "0", "rejects", 10)) // turn 1
		works := event("works", "0", "works", 10)
		works.ReceivedAt = time.Now()
		g.commit(works)                            // turn 2
		g.commit(event("fails", "0", "fails", 10)) // turn 3
		g.commit(event("ends", "0", "ends", 10))   // turn 4
		g.sleep(time.Millisecond)
		g.counted()
		if s := g.r.Stats(); s.InFlight != 1 || s.FreePosition != 2 || s.BlockedPosition != 3 || s.Accounts[Retrying] != 1 || s.Accounts[Parked] != 1 {
			t.Errorf("while works works: %+v", s)
		}
		g.sleep(2 * time.Hour)
		g.counted()
		if s := g.r.Stats(); s.FreePosition != 0 || s.BlockedPosition != 4 || s.Accounts[Retrying] != 0 {
			t.Errorf("once only the parked one is left: %+v", s)
		}
		want := map[Outcome]int{OutcomeDone: 2, OutcomeFailed: 1, OutcomeDead: 1, OutcomeParked: 1}
		if !maps.Equal(h.ended, want) {
			t.Errorf("outcomes %v, want %v", h.ended, want)
		}
		if h.worked["works"] != time.Second {
			t.Errorf("works worked for %v", h.worked["works"])
		}
		if len(h.lags) != 2 || h.lags[0] != time.Second {
			t.Errorf("lags %v, the first one must be a second", h.lags)
		}
	})
}
