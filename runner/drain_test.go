package runner

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

// First step: no turn is taken any more, what runs may end and is recorded.
func TestDrainLetsCallsEndAndRecordsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		g := newRig(t, Options{}, fn("f", m.sleeper(20*time.Second))).start(nil, false)
		for a := range 8 {
			g.commit(series(fmt.Sprint("c", a), "f", 3, 10)...)
		}
		g.sleep(10 * time.Second)
		begin := time.Now()
		g.stop()
		err := <-g.ended
		g.ended <- err
		g.commit(event("late", "0", "f", 10))
		g.settle()
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("the drain took %v, want the 10 s that the calls still needed", took)
		}
		if len(m.seen) != 8 {
			t.Errorf("%d calls began, want none after the stop", len(m.seen)-8)
		}
		for a := range 8 {
			if got := g.fakeStore.ended(fmt.Sprint("c", a)); !reflect.DeepEqual(got, ids(1)) {
				t.Errorf("account %d has results of %v, want of the call that ran", a, got)
			}
		}
		if len(g.holds) != 0 {
			t.Errorf("%d accounts are held, want 0", len(g.holds))
		}
	})
}

// Second step: when the time is over calls are cancelled, and don't count.
func TestDrainCancelsAfterItsTime(t *testing.T) {
	for _, unclean := range []bool{false, true} {
		t.Run(fmt.Sprint("recorded ", unclean), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				causes := map[string]error{}
				g := newRig(t, Options{},
					fn("f", func(ctx context.Context, ev db.Event) error {
						<-ctx.Done()
						mu.Lock()
						causes[ev.ClientID] = context.Cause(ctx)
						mu.Unlock()
						switch ev.ClientID {
						case "finishes":
							return nil
						case "rejects":
							return functions.Reject(errTest)
						}
						return ctx.Err()
					}))
				var backlog []db.Backlog
				for _, c := range []string{"cut", "finishes", "rejects", "retried"} {
					g.commit(event(c, "0", "f", 10))
					b := db.Backlog{ClientID: c, Events: 1}
					if c == "retried" {
						b.Attempts = 7
						g.holds[c] = db.Hold{Attempts: 7}
					}
					backlog = append(backlog, b)
				}
				g.cold()
				g.start(backlog, unclean)
				g.settle()
				begin := time.Now()
				g.stop()
				err := <-g.ended
				g.ended <- err
				if took := time.Since(begin); took != g.drain {
					t.Errorf("the calls were cancelled after %v, want %v", took, g.drain)
				}
				for c, cause := range causes {
					if !errors.Is(cause, ErrStopping) {
						t.Errorf("%s saw the cause %v, want ErrStopping", c, cause)
					}
				}
				if len(causes) != 4 {
					t.Errorf("%d calls were cancelled, want 4", len(causes))
				}
				if h, ok := g.held("cut"); ok {
					t.Errorf("an attempt that was cut short counts: %+v", h)
				}
				if h, _ := g.held("retried"); h.Attempts != 7 {
					t.Errorf("the cut attempt left %d attempts, want 7", h.Attempts)
				}
				for _, c := range []string{"finishes", "rejects"} {
					if got := g.fakeStore.ended(c); !reflect.DeepEqual(got, ids(1)) {
						t.Errorf("%s: a finished result was not recorded", c)
					}
				}
			})
		})
	}
}

// A function that ignores even that is left behind, so that the process can end.
func TestDrainLeavesBehindWhoIgnoresIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := newRig(t, Options{}, fn("f", func(context.Context, db.Event) error { <-release; return nil })).start(nil, false)
		g.commit(event("a", "0", "f", 10))
		g.settle()
		begin := time.Now()
		g.stop()
		err := <-g.ended
		g.ended <- err
		if took := time.Since(begin); took != g.drain+stopGrace {
			t.Errorf("the group ended after %v, want %v", took, g.drain+stopGrace)
		}
		// The database is closed by now.
		g.settling = func([]db.Settlement) error { return db.ErrClosed }
		close(release)
		g.settle()
		if n := g.r.inside(); n != 0 {
			t.Errorf("%d accounts are inside functions", n)
		}
	})
}

// A failure during the first step is recorded, and its account waits.
func TestAFailureWhileDrainingCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{}, fn("f", func(context.Context, db.Event) error {
			time.Sleep(5 * time.Second)
			return errTest
		})).start(nil, false)
		g.commit(event("a", "0", "f", 10))
		g.sleep(time.Second)
		g.stop()
		err := <-g.ended
		g.ended <- err
		if h, _ := g.held("a"); h.Attempts != 1 {
			t.Errorf("held by %+v, want 1 attempt", h)
		}
	})
}

// The storage's last word ends the account's turn; nothing is tried again.
func TestStorageEnds(t *testing.T) {
	for _, last := range []error{db.ErrClosed, db.ErrFenced, db.ErrUnavailable, db.ErrOutcomeUnknown, db.ErrStorageFull} {
		t.Run(last.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ran := 0
				g := newRig(t, Options{}, fn("f", func(context.Context, db.Event) error { ran++; return nil }, functions.MaxConcurrent(1)))
				g.settling = func([]db.Settlement) error { return fmt.Errorf("settle: %w", last) }
				g.start(nil, false)
				g.commit(series("a", "f", 3, 10)...)
				g.sleep(time.Hour)
				if ran != 1 || len(g.all) != 0 {
					t.Errorf("%d attempts, %d holds, want 1 and 0", ran, len(g.all))
				}
				if s := g.stats(); s.Running != 0 || s.Bytes != 0 || s.Slots != 0 {
					t.Errorf("running %d, bytes %d, slots %d", s.Running, s.Bytes, s.Slots)
				}
			})
		})
	}
}

// Where nothing can be recorded any more, nothing is waited for.
func TestAbortCancelsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		g := newRig(t, Options{}, fn("f", func(ctx context.Context, _ db.Event) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return cause
		})).start(nil, false)
		g.commit(event("a", "1", "f", 10))
		g.settle()
		begin := time.Now()
		g.r.Abort()
		err := <-g.ended
		g.ended <- err
		if took := time.Since(begin); took != 0 {
			t.Errorf("the end took %v, want it at once", took)
		}
		if !errors.Is(cause, ErrStopping) {
			t.Errorf("the call saw %v", cause)
		}
	})
}
