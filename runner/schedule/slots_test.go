package schedule

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"inturn/db"
)

// slotWorld is a schedule whose calls of type "t" end when the test says so.
type slotWorld struct {
	t        *testing.T
	s        *Schedule
	now      time.Time
	position int64
	pending  map[string]db.Event // what the store has: one event each
	leases   map[string]Lease    // inside their calls
}

func newSlotWorld(t *testing.T, bound int) *slotWorld {
	return &slotWorld{
		t: t, s: New(Limits{Running: 1000, Slice: 1, Memory: 1 << 20}, map[string]int{"t": bound}), now: epoch,
		pending: map[string]db.Event{}, leases: map[string]Lease{},
	}
}

// append adds an event of each of these accounts, and begins what may begin.
func (w *slotWorld) append(clients ...string) {
	for _, client := range clients {
		w.position++
		w.pending[client] = db.Event{ClientID: client, Type: "t", Position: w.position}
		w.s.Appended([]db.Event{w.pending[client]})
	}
	w.run()
}

func (w *slotWorld) run() {
	w.t.Helper()
	for {
		le, ok := w.s.Next(w.now)
		if !ok {
			break
		}
		step := le.Peek(w.now)
		if step.Do == Load {
			if _, ok := le.Load(); !ok {
				w.t.Fatalf("%s: there is no memory", le.ClientID())
			}
			le.Loaded([]db.Event{w.pending[le.ClientID()]}, false)
			step = le.Peek(w.now)
		}
		if step.Do == Run {
			w.leases[le.ClientID()] = le
		} else if step.Do != Ended {
			w.t.Fatalf("%s: step %d", le.ClientID(), step.Do)
		}
	}
	if err := w.s.Verify(); err != nil {
		w.t.Fatal(err)
	}
}

// settle ends a call well.
func (w *slotWorld) settle(client string) {
	w.t.Helper()
	le := w.leases[client]
	delete(w.leases, client)
	le.Advance(1, w.pending[client].Position)
	delete(w.pending, client)
	if step := le.Peek(w.now); step.Do != Ended {
		w.t.Fatalf("%s: step %d", client, step.Do)
	}
	w.run()
}

// fail ends a call with a failed attempt; the next is due at once.
func (w *slotWorld) fail(client string) {
	w.t.Helper()
	le := w.leases[client]
	delete(w.leases, client)
	w.s.Changed([]db.Change{{ClientID: client, Attempts: le.Attempts().N + 1, NextAt: w.now}}, w.now)
	le.Park(w.now)
	w.run()
}

func (w *slotWorld) running(clients ...string) (n int) {
	for _, client := range clients {
		if _, ok := w.leases[client]; ok {
			n++
		}
	}
	return n
}

func names(of string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(of, i))
	}
	return all
}

// Accounts whose calls hang have all slots that they can get, and those whose calls ended
// well still have theirs.
func TestSlotsAreKeptForProvenAccounts(t *testing.T) {
	const bound = 64
	w := newSlotWorld(t, bound)
	well := names("well", bound)
	w.append(well...)
	for len(w.leases) > 0 {
		w.settle(slices.Collect(maps.Keys(w.leases))[0])
	}
	hang := names("hang", 100)
	w.append(hang...)
	if got, want := w.running(hang...), bound-bound/provenShare; got != want {
		t.Fatalf("%d calls hang, want %d", got, want)
	}
	w.append(well...)
	if got := w.running(well...); got != bound/provenShare {
		t.Errorf("%d calls of accounts that are well run beside them, want %d", got, bound/provenShare)
	}
	for settled := range well {
		if w.running(well...) == 0 {
			t.Fatalf("%d of %d are settled, and none runs", settled, len(well))
		}
		for _, client := range well {
			if w.running(client) == 1 {
				w.settle(client)
				break
			}
		}
	}
	// What fails, or is over its time limit, is proven no more.
	w.append("well0", "well1", "well2")
	w.fail("well0")
	w.leases["well1"].Overdue()
	w.leases["well1"].Returned()
	w.settle("well2")
	if s := &w.s.types.byName["t"].slots; s.proven.Contains("well0") || s.proven.Contains("well1") || !s.proven.Contains("well2") {
		t.Errorf("proven: %v", s.proven.Keys())
	}
}

// Accounts that failed get a quarter of the slots, and one at least, and new ones share
// the rest with those that are proven.
func TestFailingAccountsGetAQuarterOfTheSlots(t *testing.T) {
	for bound, want := range map[int]int{1: 1, 2: 1, 4: 1, 8: 2, 64: 16} {
		t.Run(fmt.Sprint(bound), func(t *testing.T) {
			w := newSlotWorld(t, bound)
			bad, fresh := names("bad", 2*bound), names("fresh", bound)
			w.append(bad...)
			for failed := 0; failed < len(bad); { // each once
				before := failed
				for _, client := range bad {
					if w.running(client) == 1 && w.leases[client].Attempts().N == 0 {
						w.fail(client)
						failed++
					}
				}
				if failed == before {
					t.Fatalf("%d accounts have failed, and have all slots: %d others don't begin", failed, len(bad)-failed)
				}
			}
			if got := w.running(bad...); got != want {
				t.Fatalf("%d calls of accounts that failed, want %d", got, want)
			}
			w.append(fresh...)
			if got, want := w.running(fresh...), bound-bound/provenShare-want; got != want {
				t.Errorf("%d calls of new accounts, want %d", got, want)
			}
			for len(w.leases) > 0 {
				w.settle(slices.Collect(maps.Keys(w.leases))[0])
			}
			if s := w.s.Stats(); s.States != [states]int{} || s.Slots != 0 {
				t.Errorf("left over: %+v", s)
			}
		})
	}
}
