package sqlite

import (
	"errors"
	"testing"
	"time"

	"inturn/db"
)

// Each effect has MaxEffect for itself, and once more after it was stopped, however long
// its group takes.
func TestLateEffects(t *testing.T) {
	h, tx := &executor{bound: db.MaxEffect}, &effectTx{}
	age := func(d time.Duration) { h.began = h.began.Add(-d) }
	waits := func(what string) {
		t.Helper()
		if late, stopped, wait := h.late(); late != nil || stopped != nil || wait <= 0 || wait > db.MaxEffect {
			t.Errorf("%s: late %v, stopped %v, wait %v", what, late, stopped, wait)
		}
	}
	waits("nothing runs")
	for range 3 {
		h.begin(tx)
		age(db.MaxEffect / 2)
		waits("half its time")
		if took, stopped := h.end(); took < db.MaxEffect/2 || stopped {
			t.Errorf("took %v, stopped %v", took, stopped)
		}
		waits("between two")
	}
	h.begin(tx)
	age(db.MaxEffect)
	late, stopped, again := h.late()
	if late != tx || stopped == nil || again != db.MaxEffect {
		t.Fatalf("after its time: %v, %v, %v", late, stopped, again)
	}
	waits("just stopped")
	age(db.MaxEffect)
	if late, stopped, _ := h.late(); late != tx || stopped != nil || !h.left {
		t.Errorf("never returned: %v, %v", late, stopped)
	}
	goesOn, ended := false, make(chan struct{})
	go func() {
		defer close(ended)
		h.end()
		goesOn = true
	}()
	wait(t, "its end", ended)
	if goesOn {
		t.Error("what was left behind goes on")
	}
}

// What comes after an effect that was stopped isn't interrupted in its place.
func TestStoppedEffectWaits(t *testing.T) {
	h := &executor{bound: db.MaxEffect}
	h.begin(&effectTx{})
	h.began = h.began.Add(-db.MaxEffect)
	_, stopped, _ := h.late()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if took, slow := h.end(); took < db.MaxEffect || !slow {
			t.Errorf("took %v, slow %v", took, slow)
		}
	}()
	select {
	case <-ended:
		t.Error("it goes on while it may be interrupted")
	case <-time.After(20 * time.Millisecond): // longer shows nothing more
	}
	close(stopped)
	wait(t, "its end", ended)
}

// One that is too slow or never returns takes no neighbour of its slice with it, and
// the next effect finds a hand.
func TestSlowInASlice(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	endless := slowEffects()[0].effect
	for name, effect := range map[string]db.Effect{
		"stopped": endless,
		"stopped, then a panic": func(tx db.Tx) (any, error) {
			endless(tx)
			panic("late")
		},
		"left behind": func(tx db.Tx) (any, error) {
			tx.QueryContext(tx.Context(), "SELECT 1 UNION SELECT 2")
			<-release
			return nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			forEachHurried(t, func(t *testing.T, d *DB) {
				var items []db.Settlement
				for i, effect := range []db.Effect{note("1"), note("2"), effect, note("4")} {
					items = append(items, done(appendEvent(t, d, event("s", string(rune('1'+i)))), effect))
				}
				if n, err := d.Settle(items); n != 2 || !errors.Is(err, db.ErrEffectTooSlow) {
					t.Errorf("settled %d, %v", n, err)
				}
				settle(t, d, done(items[2].Event, note("3")), items[3])
				wantRows(t, d, noteRows, "1", "2", "3", "4")
			})
		})
	}
}
