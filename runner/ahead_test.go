package runner

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/functions"
)

// aheadRig has a function that says Pure, whose effects note their event.
func aheadRig(t *testing.T, o Options, work, effect func(ev db.Event) error) (g *rig, effects *[]string, settles *[]int) {
	effects, settles = new([]string), new([]int)
	g = newRig(t, o, functions.New("f", func(_ context.Context, ev functions.Event, _ any) (functions.Effect, error) {
		if err := work(ev); err != nil {
			return nil, err
		}
		return func(functions.Tx) (any, error) {
			if err := effect(ev); err != nil {
				return nil, err
			}
			*effects = append(*effects, ev.MessageID)
			return nil, nil
		}, nil
	}, functions.Pure()), fn("g", func(_ context.Context, ev db.Event) error {
		*effects = append(*effects, ev.MessageID)
		return nil
	}))
	g.settling = func(items []db.Settlement) error { *settles = append(*settles, len(items)); return nil }
	return g, effects, settles
}

func good(db.Event) error { return nil }

func TestASliceIsSettledAsOneOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, effects, settles := aheadRig(t, Options{Slice: 8}, good, good)
		g.start(nil, false)
		g.commit(series("a", "f", 20, 10)...)
		g.settle()
		if !reflect.DeepEqual(*effects, ids(20)) {
			t.Errorf("effects ran in the order %v", *effects)
		}
		if want := []int{8, 8, 4}; !reflect.DeepEqual(*settles, want) {
			t.Errorf("settled in slices of %v, want %v", *settles, want)
		}
		g.books()
	})
}

func TestASliceEndsAtTheFirstFailure(t *testing.T) {
	bad := func(ev db.Event) error {
		if ev.MessageID == "5" && ev.Attempt == 1 {
			return errTest
		}
		return nil
	}
	panics := func(ev db.Event) error {
		if bad(ev) != nil {
			panic("boom")
		}
		return nil
	}
	for name, f := range map[string][2]func(db.Event) error{"work": {bad, good}, "effect": {good, bad}, "panic": {panics, good}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, effects, _ := aheadRig(t, Options{}, f[0], f[1])
				g.start(nil, false)
				g.commit(series("a", "f", 10, 10)...)
				g.settle()
				if !reflect.DeepEqual(*effects, ids(5)) {
					t.Errorf("effects %v ran, want those before the failure", *effects)
				}
				if h, _ := g.held("a"); h.Event.MessageID != "5" || h.Attempts != 1 {
					t.Errorf("held is %q after %d attempts, want 5 after 1", h.Event.MessageID, h.Attempts)
				}
				g.sleep(time.Minute)
				if !reflect.DeepEqual(*effects, ids(10)) {
					t.Errorf("effects %v ran, want each once and in order", *effects)
				}
				g.books()
			})
		})
	}
}

// Another function's event in between is not worked ahead, and its order is kept.
func TestASliceEndsAtAnotherType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, effects, settles := aheadRig(t, Options{}, good, good)
		g.start(nil, false)
		evs := series("a", "f", 9, 10)
		evs[4].Type = "g"
		g.commit(evs...)
		g.settle()
		if !reflect.DeepEqual(*effects, ids(9)) {
			t.Errorf("effects %v ran", *effects)
		}
		if want := []int{4, 1, 4}; !reflect.DeepEqual(*settles, want) {
			t.Errorf("settled %v at once, want %v", *settles, want)
		}
		g.books()
	})
}

// A slice in the middle of which somebody else ended an event goes on behind it.
func TestASupersededEventInASlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *rig
		done := false
		g, effects, _ := aheadRig(t, Options{}, func(ev db.Event) error {
			if ev.MessageID == "3" && !done {
				done = true
				g.skip(ev)
			}
			return nil
		}, good)
		g.start(nil, false)
		g.commit(series("a", "f", 6, 10)...)
		g.settle()
		if want := []string{"0", "1", "2", "4", "5"}; !reflect.DeepEqual(g.fakeStore.ended("a"), want) {
			t.Errorf("settled %v, want %v", g.fakeStore.ended("a"), want)
		}
		_ = effects // the fake runs an effect before it looks for the row
		g.books()
	})
}

// What is appended while a slice is worked ahead comes after it.
func TestAppendedWhileASliceIsWorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *rig
		n := 3
		g, effects, _ := aheadRig(t, Options{}, func(ev db.Event) error {
			if n < 200 {
				g.commit(event("a", fmt.Sprint(n), "f", 10))
				n++
			}
			return nil
		}, good)
		g.start(nil, false)
		g.commit(series("a", "f", 3, 10)...)
		g.settle()
		if !reflect.DeepEqual(*effects, ids(200)) {
			t.Errorf("effects ran in the order %v", *effects)
		}
		g.books()
	})
}
