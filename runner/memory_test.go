package runner

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
	"inturn/runner/schedule"
)

func nothing(context.Context, db.Event) error { return nil }

// most keeps the greatest memory that was seen at a store call.
type most struct {
	mu    sync.Mutex
	bytes int
	over  int
}

func (m *most) watch(g *rig) {
	s := g.stats()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes, m.over = max(m.bytes, s.Bytes), max(m.over, s.Overcommitted)
}

// A lane deeper than memory is read from the file, in order, while others are hot.
func TestALaneBeyondTheBoundIsReadInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m most
		g := newRig(t, Options{HotBytes: 32 << 10, InFlight: 4}, fn("f", nothing))
		g.settling = func([]db.Settlement) error { m.watch(g); return nil }
		g.start(nil, false)
		g.commit(series("deep", "f", 500, 1000)...)
		g.settle()
		if got := g.fakeStore.ended("deep"); !reflect.DeepEqual(got, ids(500)) {
			t.Errorf("settled %v", got)
		}
		if m.bytes > 32<<10 || m.bytes == 0 {
			t.Errorf("%d bytes were in memory, want at most %d", m.bytes, 32<<10)
		}
		if g.reads == 0 {
			t.Error("the file was never read")
		}
		g.books()
	})
}

// After a restart every account is cold and reads at once; none knows how big the
// others' events are.
func TestColdAccountsTogetherStayWithinTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hot, size, accounts, overhead = 256 << 10, 4 << 10, 500, 256
		var m most
		g := newRig(t, Options{HotBytes: hot}, fn("f", func(context.Context, db.Event) error {
			time.Sleep(time.Second)
			return nil
		}))
		g.read = func(string) { time.Sleep(time.Millisecond) } // so that many read at once
		g.settling = func([]db.Settlement) error { m.watch(g); return nil }
		var backlog []db.Backlog
		for a := range accounts {
			g.commit(series(fmt.Sprint("c", a), "f", 4, size)...)
			backlog = append(backlog, db.Backlog{ClientID: fmt.Sprint("c", a), Events: 4})
		}
		g.cold()
		g.start(backlog, false)
		g.sleep(time.Hour)
		for a := range accounts {
			if got := g.fakeStore.ended(fmt.Sprint("c", a)); !reflect.DeepEqual(got, ids(4)) {
				t.Fatalf("account %d settled %v", a, got)
			}
		}
		if limit := hot + (maxReads+schedule.MaxOvercommitted)*(size+2*overhead); m.bytes > limit {
			t.Errorf("%d bytes were in memory, want at most %d", m.bytes, limit)
		}
		if m.over > schedule.MaxOvercommitted {
			t.Errorf("%d lanes overcommit memory, want at most %d", m.over, schedule.MaxOvercommitted)
		}
		g.books()
	})
}

// Deep accounts leave enough memory that all others can be inside functions too.
func TestDeepAccountsLeaveRoomForAllInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		const inFlight = 400
		g := newRig(t, Options{InFlight: inFlight, HotBytes: inFlight * 2 << 10}, fn("f", m.sleeper(time.Second)))
		var backlog []db.Backlog
		for a := range inFlight {
			c := fmt.Sprint("c", a)
			g.commit(series(c, "f", 80, 400)...)
			backlog = append(backlog, db.Backlog{ClientID: c, Events: 80})
		}
		g.cold()
		g.start(backlog, false)
		g.settle()
		if m.running() != inFlight {
			t.Errorf("%d of %d accounts are inside functions", m.running(), inFlight)
		}
		g.sleep(time.Hour)
		g.books()
	})
}

// While memory is held by accounts that wait for a slot, or whose function doesn't
// return, the others go on.
func TestMemoryOfWaitingAndStuckAccountsIsGivenToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var m meter
		g := newRig(t, Options{HotBytes: 64 << 10, InFlight: 256},
			fn("slow", m.sleeper(time.Minute), functions.MaxConcurrent(1)),
			fn("stuck", func(context.Context, db.Event) error { <-release; return nil },
				functions.WithPolicy(functions.Policy{Timeout: time.Second})),
			fn("f", nothing)).start(nil, false)
		for a := range 2 * schedule.MaxOvercommitted { // more memory than there is
			g.commit(series(fmt.Sprint("stuck", a), "stuck", 2, 1000)...)
		}
		g.sleep(time.Minute)
		for a := range 2 * schedule.MaxOvercommitted {
			g.commit(series(fmt.Sprint("slow", a), "slow", 2, 1000)...)
		}
		g.settle()
		for a := range 50 {
			g.commit(series(fmt.Sprint("c", a), "f", 5, 1000)...)
		}
		g.settle()
		for a := range 50 {
			if n := len(g.fakeStore.ended(fmt.Sprint("c", a))); n != 5 {
				t.Fatalf("account %d has settled %d of 5 events", a, n)
			}
		}
		close(release)
		g.sleep(24 * time.Hour)
		for a := range 2 * schedule.MaxOvercommitted {
			for _, c := range []string{"slow", "stuck"} {
				if got := g.fakeStore.ended(fmt.Sprint(c, a)); !reflect.DeepEqual(got, ids(2)) {
					t.Errorf("%s%d settled %v", c, a, got)
				}
			}
		}
		g.books()
	})
}

// What a paused account is sent takes no memory from the others, and is run once it goes on.
func TestEventsOfPausedAccountsTakeNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{}, fn("f", nothing)).start(nil, false)
		const accounts = 10
		for a := range accounts {
			g.tell(db.Change{ClientID: fmt.Sprint("c", a), Paused: true})
			g.commit(series(fmt.Sprint("c", a), "f", 3, 1000)...)
		}
		g.settle()
		if got := g.r.Stats(); got.HotBytes != 0 || got.Paused != accounts {
			t.Errorf("%d bytes are in memory, %d accounts are paused", got.HotBytes, got.Paused)
		}
		for a := range accounts {
			g.tell(db.Change{ClientID: fmt.Sprint("c", a)})
		}
		g.settle()
		for a := range accounts {
			if got := g.fakeStore.ended(fmt.Sprint("c", a)); !reflect.DeepEqual(got, ids(3)) {
				t.Errorf("account %d settled %v", a, got)
			}
		}
		g.books()
	})
}

// What is published while a lane is being read is neither lost nor doubled, whether
// the snapshot has it or not.
func TestPublishedDuringARead(t *testing.T) {
	for _, when := range []string{"before the snapshot", "after the snapshot"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ran []string
				g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
					ran = append(ran, ev.MessageID)
					return nil
				}))
				g.commit(series("a", "f", 3, 10)...)
				g.cold()
				first := true
				publish := func(string) {
					if first {
						first = false
						g.commit(event("a", "3", "f", 10), event("a", "4", "f", 10))
					}
				}
				if when == "after the snapshot" {
					g.read = publish
				} else {
					g.reading = func(c string) error { publish(c); return nil }
				}
				g.start([]db.Backlog{{ClientID: "a", Events: 3}}, false)
				g.settle()
				if !reflect.DeepEqual(ran, ids(5)) {
					t.Errorf("ran %v, want each of five once and in order", ran)
				}
				g.books()
			})
		})
	}
}

// An event that was committed may be read from the file before it is published.
func TestReadBeforePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			ran = append(ran, ev.MessageID)
			return nil
		}))
		evs := series("a", "f", 4, 10)
		g.commit(evs...)
		g.cold()
		gate := make(chan struct{})
		g.settling = func(items []db.Settlement) error {
			if items[0].Event.MessageID == "0" { // all four are in memory now
				<-gate
			}
			return nil
		}
		g.start([]db.Backlog{{ClientID: "a", Events: 3}}, false)
		g.settle()
		g.r.Appended(evs[2:]) // only now
		close(gate)
		g.settle()
		if !reflect.DeepEqual(ran, ids(4)) {
			t.Errorf("ran %v, want each of four once and in order", ran)
		}
		g.books()
	})
}

func TestAReadThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{}, fn("f", nothing, functions.MaxConcurrent(1)))
		g.commit(series("a", "f", 3, 10)...)
		g.cold()
		fails := 3
		g.reading = func(c string) error {
			if fails--; fails >= 0 {
				return errTest
			}
			return nil
		}
		g.start([]db.Backlog{{ClientID: "a", Events: 3}}, false)
		g.sleep(time.Minute)
		if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(3)) {
			t.Errorf("settled %v", got)
		}
		g.books()
	})
}

// An error of Hold that is not the storage's end must not leave the account behind.
func TestAHoldThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := 2
		g := newRig(t, Options{}, fn("f", func(_ context.Context, ev db.Event) error {
			if ev.Attempt == 1 {
				return errTest
			}
			return nil
		}))
		g.holding = func(db.Hold) error {
			if fails--; fails >= 0 {
				return errTest
			}
			return nil
		}
		g.start(nil, false)
		g.commit(series("a", "f", 2, 10)...)
		g.sleep(time.Minute)
		if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(2)) {
			t.Errorf("settled %v", got)
		}
		g.books()
	})
}
