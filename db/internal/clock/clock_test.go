package clock_test

import (
	"testing"
	"time"

	"inturn/db/internal/clock"
)

func TestClockThatJumps(t *testing.T) {
	var wall time.Time
	var steady time.Duration
	c := &clock.Clock{Wall: func() time.Time { return wall }, Steady: func() time.Duration { return steady }}
	step := func(what string, passes, wallPasses time.Duration, want, wantJump bool) {
		t.Helper()
		steady, wall = steady+passes, wall.Add(wallPasses)
		if _, ok, jumped := c.Believed(time.Unix(1_000_000_000, 0)); ok != want || jumped != wantJump {
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
	step("not yet", clock.Steady-time.Second, clock.Steady-time.Second, false, false)
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
		judge := &clock.Clock{Wall: func() time.Time { return now }, Steady: func() time.Duration { return 0 }}
		if _, ok, jumped := judge.Believed(c.newest); ok != c.want || jumped == ok {
			t.Errorf("%s: believed %v, jumped %v", name, ok, jumped)
		}
	}
}
