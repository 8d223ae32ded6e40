package commit

import (
	"testing"
	"time"
)

// The committer yields to those who may share its next commit, and not for long where
// others keep the processor busy.
func TestYielding(t *testing.T) {
	y := &yielding{}
	yields := func() bool {
		y.yield()
		return y.waited > 0
	}
	for _, step := range []struct {
		group int
		took  time.Duration // 0: as long as it did
		want  bool          // it yields before the next group
	}{
		{1, 0, false},
		{2, 0, true},
		{40, 40 * worthAnOperation, true},
		{0, 0, false},
		{40, 42 * worthAnOperation, false},
	} {
		if step.took > 0 {
			y.waited = step.took
		}
		before := time.Now()
		if y.took(step.group); yields() != step.want {
			t.Errorf("after a group of %d and %s: %v", step.group, step.took, !step.want)
		}
		if pause := y.after.Sub(before); step.took > 0 && !step.want && pause < 100*step.took {
			t.Errorf("it yields again after %s", pause)
		}
	}
	y.after = time.Now()
	if !yields() {
		t.Error("it never yields again")
	}
}
