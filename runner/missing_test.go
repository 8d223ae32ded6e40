package runner

import (
	"context"
	"maps"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

// newSet is functions.NewSet where it can't fail.
func newSet(t *testing.T, fns ...functions.Function) *functions.Set {
	t.Helper()
	set, err := functions.NewSet(fns...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (g *rig) missing() map[string]int { return g.r.Stats().Missing }

// Events of a type without a function are held without attempts, also where the process
// ended in the middle of one, and go on at once when there is a function.
func TestATypeWithoutAFunctionHoldsItsEvents(t *testing.T) {
	for name, unclean := range map[string]bool{"clean": false, "unclean": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := fn("f", nothing)
				g := newRig(t, Options{}, f)
				g.commit(event("a", "0", "gone", 10), event("a", "1", "f", 10), event("b", "0", "f", 10), event("c", "0", "gone", 10), event("d", "0", "lost", 10))
				g.cold()
				var backlog []db.Backlog
				for _, c := range []string{"a", "b", "c", "d"} {
					backlog = append(backlog, db.Backlog{ClientID: c, Events: 1, HeadPosition: g.pending[c][0].Position})
				}
				g.start(backlog, unclean)
				g.sleep(100 * 24 * time.Hour)
				if len(g.fakeStore.ended("b")) != 1 {
					t.Error("another account did not run")
				}
				s := g.r.Stats()
				if want := map[string]int{"gone": 2, "lost": 1}; !maps.Equal(s.Missing, want) || s.Accounts[Ready] != 3 || s.HotBytes != 0 || s.BlockedPosition != 1 {
					t.Errorf("%+v, want %v missing and no memory for it", s, want)
				}
				if g.r.Busy() {
					t.Error("busy with types that have no function")
				}
				for _, h := range g.all {
					if h.Event.ClientID != "b" {
						t.Errorf("an attempt is counted: %+v", h)
					}
				}
				g.r.SetFunctions(newSet(t, f, fn("gone", func(_ context.Context, ev db.Event) error {
					if ev.Attempt != 1 {
						t.Errorf("the first call is attempt %d", ev.Attempt)
					}
					return nil
				})))
				g.settle()
				if got := g.fakeStore.ended("a"); !reflect.DeepEqual(got, ids(2)) {
					t.Errorf("with a function, account a has settled %v, want both in order", got)
				}
				if want := map[string]int{"lost": 1}; len(g.fakeStore.ended("c")) != 1 || !maps.Equal(g.missing(), want) {
					t.Errorf("account c has settled %v, and %v is missing", g.fakeStore.ended("c"), g.missing())
				}
				g.skip(g.pending["d"][0])
				g.tell(db.Change{ClientID: "d", Reread: true})
				g.books()
			})
		})
	}
}

// Pauses and missing functions overlap: an account goes on once both have ended.
func TestAPausedTypeWithoutAFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Options{}).start(nil, false)
		g.tell(db.Change{Type: "f", Paused: true})
		g.commit(event("a", "0", "f", 10))
		g.settle()
		if s := g.r.Stats(); s.Paused != 1 {
			t.Errorf("%+v, want it paused", s)
		}
		g.tell(db.Change{Type: "f"})
		g.settle()
		if s := g.r.Stats(); s.Paused != 0 || s.Missing["f"] != 1 {
			t.Errorf("%+v, want it missing", s)
		}
		g.tell(db.Change{Type: "f", Paused: true})
		with := newSet(t, fn("f", nothing))
		g.r.SetFunctions(with)
		g.settle()
		if s := g.r.Stats(); s.Paused != 1 || len(s.Missing) != 0 || len(g.fakeStore.ended("a")) != 0 {
			t.Errorf("%+v, want it paused still", s)
		}
		g.r.SetFunctions(newSet(t))
		g.r.SetFunctions(with)
		g.tell(db.Change{Type: "f"})
		g.settle()
		if len(g.fakeStore.ended("a")) != 1 {
			t.Error("it did not go on")
		}
		g.books()
	})
}

// Functions are replaced while calls run: those end with the function they began with,
// and count in the bound of the new one.
func TestFunctionsAreReplacedWhileTheyRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after meter
		g := newRig(t, Options{}, fn("f", before.sleeper(time.Minute))).start(nil, false)
		for _, c := range []string{"a", "b", "c"} {
			g.commit(series(c, "f", 2, 10)...)
		}
		g.settle()
		bounded := newSet(t, fn("f", after.sleeper(time.Minute), functions.MaxConcurrent(2)))
		g.r.SetFunctions(bounded)
		g.commit(event("d", "0", "f", 10))
		g.settle()
		if before.running() != 3 || after.running() != 0 {
			t.Errorf("%d old and %d new calls run, want 3 and 0", before.running(), after.running())
		}
		g.sleep(time.Minute)
		if after.running() != 2 || len(before.seen) != 3 {
			t.Errorf("%d new calls run, %d began with the old function; want 2 and 3", after.running(), len(before.seen))
		}
		g.r.SetFunctions(newSet(t)) // what waits for a slot waits for a function then
		g.sleep(time.Minute)
		if n := after.running(); n != 0 || g.missing()["f"] == 0 {
			t.Errorf("%d calls run without a function; %v is missing", n, g.missing())
		}
		g.r.SetFunctions(newSet(t, fn("f", after.sleeper(time.Second))))
		g.sleep(time.Minute)
		for c, want := range map[string]int{"a": 2, "b": 2, "c": 2, "d": 1} {
			if got := g.fakeStore.ended(c); !reflect.DeepEqual(got, ids(want)) {
				t.Errorf("%s settled %v", c, got)
			}
		}
		if after.most > 4 || before.twice || after.twice {
			t.Errorf("%d calls at once, or two of one account", after.most)
		}
		g.books()
	})
}
