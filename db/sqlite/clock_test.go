package sqlite

import (
	"testing"
	"time"

	"inturn/db/internal/clock"
)

// Retention deletes nothing while the clock is not believed.
func TestRetentionByAClockThatJumped(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	settle(t, d, done(appendEvent(t, d, event("a", "1")), nil))
	r := d.retention()
	wall := time.Now()
	r.clock.Wall = func() time.Time { return wall }
	const age = 30 * 24 * time.Hour
	if n, err := r.look(t.Context(), age); n != 0 || err != nil {
		t.Fatalf("deleted %d, %v", n, err)
	}
	wall = wall.Add(400 * 24 * time.Hour)
	if n, err := r.look(t.Context(), age); n != 0 || err != nil {
		t.Errorf("the clock has jumped: deleted %d, %v", n, err)
	}
	begin := time.Now()
	r.clock.Steady = func() time.Duration { return time.Since(begin) + 2*clock.Steady }
	wall = wall.Add(2 * clock.Steady)
	if n, err := r.look(t.Context(), age); n != 1 || err != nil {
		t.Errorf("the clock was steady: deleted %d, %v", n, err)
	}
}
