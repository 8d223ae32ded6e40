package commit

import (
	"runtime"
	"time"
)

// yielding lets other goroutines run between two groups: clients that were answered send
// again, and goroutines that are about to submit do so, so that all share the next commit.
// It costs nothing while the processor is idle. While functions keep it busy it would cost
// time, so it stops for a while if it took long for the operations it brought.
type yielding struct {
	group  int           // operations in the last group
	waited time.Duration // in the last yield
	after  time.Time     // no yield before
}

// worthAnOperation is how long a yield may take for each operation of the next group.
const worthAnOperation = 250 * time.Microsecond

func (y *yielding) yield() {
	y.waited = 0
	if y.group < 2 { // nobody to share with
		return
	}
	if began := time.Now(); began.After(y.after) {
		runtime.Gosched()
		y.waited = time.Since(began)
	}
}

func (y *yielding) took(operations int) {
	y.group = operations
	if y.waited > time.Duration(operations+1)*worthAnOperation {
		y.after = time.Now().Add(100 * y.waited) // at most a hundredth of the time
	}
}
