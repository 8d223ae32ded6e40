package sqlite

import (
	"testing"
	"time"
)

func TestClockThatJumps(t *testing.T) {
	var wall time.Time
	var steady time.Duration
	c := &clock{wall: func() time.Time { return wall }, steady: func() time.Duration { return steady }}
	step := func(what string, passes, wallPasses time.Duration, want, wantJump bool) {
		t.Helper()
		steady, wall = steady+passes, wall.Add(wallPasses)
		if _, ok, jumped := c.believed(time.Unix(1_000_000_000, 0)); ok != want || jumped != wantJump {
			t.Errorf("%s: believed %v, jumped %v", what, ok, jumped)
		}
	}
	wall = time.Unix(1_000_000_000, 0)
	step("soon after the newest event", time.Second, time.Minute, true, false)
	step("ten minutes", 10*time.Minute, 10*time.Minute, true, false)
	step("a clock that is set by a minute", 10*time.Minute, 11*time.Minute, true, false)
	step("400 days ahead", 10*time.Minute, 400*24*time.Hour, false, true)
	step("still", 10*time.Minute, 10*time.Minute, false, false)
	step("back again", 10*time.Minute, -400*24*time.Hour, false, true)
	step("not yet", clockSteady-time.Second, clockSteady-time.Second, false, false)
	step("steady", 2*time.Second, 2*time.Second, true, false)
}

func TestClockAtTheStart(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	for name, c := range map[string]struct {
		newest time.Time
		want   bool
	}{
		"no event":                {time.Time{}, true},
		"one of a moment ago":     {now.Add(-time.Minute), true},
		"400 days before":         {now.Add(-400 * 24 * time.Hour), false},
		"an event of a late time": {now.Add(10 * 24 * time.Hour), false},
	} {
		clock := &clock{wall: func() time.Time { return now }, steady: func() time.Duration { return 0 }}
		if _, ok, jumped := clock.believed(c.newest); ok != c.want || jumped == ok {
			t.Errorf("%s: believed %v, jumped %v", name, ok, jumped)
		}
	}
}

// Retention deletes nothing while the clock is not believed.
func TestRetentionByAClockThatJumped(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	settle(t, d, done(appendEvent(t, d, event("a", "1")), nil))
	r := d.retention()
	wall := time.Now()
	r.clock.wall = func() time.Time { return wall }
	const age = 30 * 24 * time.Hour
	if n, err := r.look(t.Context(), age); n != 0 || err != nil {
		t.Fatalf("deleted %d, %v", n, err)
	}
	wall = wall.Add(400 * 24 * time.Hour)
	if n, err := r.look(t.Context(), age); n != 0 || err != nil {
		t.Errorf("the clock has jumped: deleted %d, %v", n, err)
	}
	begin := time.Now()
	r.clock.steady = func() time.Duration { return time.Since(begin) + 2*clockSteady }
	wall = wall.Add(2 * clockSteady)
	if n, err := r.look(t.Context(), age); n != 1 || err != nil {
		t.Errorf("the clock was steady: deleted %d, %v", n, err)
	}
}
