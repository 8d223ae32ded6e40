package postgres

import "time"

// How far the wall clock may be from where it should stand, and for how long it must then
// run evenly until it is believed.
const (
	clockJump   = time.Hour
	clockSteady = time.Hour
)

// clock judges the wall clock by what does not jump: a deletion by age must not rest on a
// clock that was set wrong.
type clock struct {
	wall   func() time.Time
	steady func() time.Duration // grows evenly, from any begin

	wallThen   time.Time     // zero at first
	steadyThen time.Duration // at wallThen
	until      time.Duration // it is not believed until then, by steady
}

func newClock() *clock {
	begin := time.Now()
	return &clock{wall: time.Now, steady: func() time.Duration { return time.Since(begin) }}
}

// believed reports whether the wall clock stands where it should since it was last asked.
// The first time it is compared with newest, the time of the newest event: a machine that
// stood still for long is doubted, too. jumped is true where the doubt begins.
func (c *clock) believed(newest time.Time) (now time.Time, ok, jumped bool) {
	now, steady := c.wall(), c.steady()
	expected := c.wallThen.Add(steady - c.steadyThen)
	if c.wallThen.IsZero() {
		if expected = newest; newest.IsZero() {
			expected = now
		}
	}
	// Without their monotonic parts, which say nothing of the wall clock.
	if now.Round(0).Sub(expected.Round(0)).Abs() > clockJump {
		c.until, jumped = steady+clockSteady, true
	}
	c.wallThen, c.steadyThen = now.Round(0), steady
	return now, steady >= c.until, jumped
}
