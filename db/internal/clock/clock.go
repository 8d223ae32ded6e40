// Package clock judges the wall clock, for what must not rest on one that was set wrong.
package clock

import "time"

// Jump is how far the wall clock may be from where it should stand, and Steady for how long
// it must then run evenly until it is believed.
const (
	Jump   = time.Hour
	Steady = time.Hour
)

// Clock judges the wall clock by what does not jump: a deletion by age must not rest on a
// clock that was set wrong. It is not for concurrent use.
type Clock struct {
	Wall   func() time.Time
	Steady func() time.Duration // grows evenly, from any begin

	wallThen   time.Time     // zero at first
	steadyThen time.Duration // at wallThen
	until      time.Duration // it is not believed until then, by steady
}

// New returns a Clock of this machine.
func New() *Clock {
	begin := time.Now()
	return &Clock{Wall: time.Now, Steady: func() time.Duration { return time.Since(begin) }}
}

// Believed reports whether the wall clock stands where it should since it was last asked.
// The first time it is compared with newest, the time of the newest event: a machine that
// stood still for long is doubted, too. jumped is true where the doubt begins.
func (c *Clock) Believed(newest time.Time) (now time.Time, ok, jumped bool) {
	now, steady := c.Wall(), c.Steady()
	expected := c.wallThen.Add(steady - c.steadyThen)
	if c.wallThen.IsZero() {
		if expected = newest; newest.IsZero() {
			expected = now
		}
	}
	// Without their monotonic parts, which say nothing of the wall clock.
	if now.Round(0).Sub(expected.Round(0)).Abs() > Jump {
		c.until, jumped = steady+Steady, true
	}
	c.wallThen, c.steadyThen = now.Round(0), steady
	return now, steady >= c.until, jumped
}
