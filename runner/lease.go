package runner

import (
	"log/slog"
	"time"

	"inturn/db"
	"inturn/functions"
	"inturn/runner/schedule"
)

const (
	maxReads  = 16          // of the store, at once: enough to keep its readers busy
	readAgain = time.Second // after an error of the store
)

// lease is a leased lane, in the goroutine that runs it.
type lease struct {
	r         *Runner
	lane      *schedule.Lane
	began     time.Time      // when Peek gave out the head
	functions *functions.Set // at that time
	pauses    int64          // Runner.pauses at that time
	calling   int64          // position of the event that a function works on
}

// take runs a leased lane. A function that ends its goroutine (runtime.Goexit, as a
// test's FailNow does) has failed its attempt; the lease goes on in another one.
func (r *Runner) take(lane *schedule.Lane) {
	le := lease{r: r, lane: lane}
	over := false
	defer func() {
		if !over {
			r.exited(lane, le.calling)
			go r.take(lane)
		}
	}()
	le.run()
	over = true
}

func (r *Runner) exited(lane *schedule.Lane, position int64) {
	r.mu.Lock()
	defer r.unlock()
	r.schedule.Exited(lane, position)
}

// run follows the schedule, event after event, until the lease has ended.
func (le *lease) run() {
	for on := true; on; {
		switch step := le.peek(); step.Do {
		case schedule.Run:
			on = le.work(step)
		case schedule.Load:
			on = le.load()
		case schedule.Expand:
			on = le.expand()
		default:
			if on = false; step.Missing != "" {
				le.r.log.Warn("no function for a type that is pending: its accounts wait, without attempts, until there is one", "type", step.Missing)
			}
		}
	}
}

// peek asks the schedule what is next. While the process is stopping it ends the lease.
func (le *lease) peek() schedule.Step {
	r := le.r
	r.mu.Lock()
	defer r.unlock()
	if r.stopping {
		r.schedule.Done(le.lane)
		return schedule.Step{}
	}
	le.began, le.functions, le.pauses = time.Now(), r.functions, r.pauses.Load()
	return r.schedule.Peek(le.lane, le.began)
}

// load reads events of a cold lane. It reports false when the lease has ended.
func (le *lease) load() bool {
	r := le.r
	r.reads <- struct{}{}
	defer func() { <-r.reads }()
	request, ok := le.request()
	if !ok {
		return false
	}
	events, more, err := r.store.PendingAfter(r.work, le.lane.ClientID(), request.After, request.Events, request.Bytes)
	if err != nil {
		return le.again(db.Event{ClientID: le.lane.ClientID()}, err)
	}
	r.mu.Lock()
	defer r.unlock()
	r.schedule.Loaded(le.lane, events, more)
	return true
}

// request returns what to read, or false if the lease has ended for want of memory.
func (le *lease) request() (schedule.Request, bool) {
	le.r.mu.Lock()
	defer le.r.unlock()
	return le.r.schedule.Load(le.lane)
}

// expand makes the next events of the lane's replay pending. It reports false when the
// lease has ended.
func (le *lease) expand() bool {
	more, err := le.r.store.ExpandReplay(le.lane.ClientID())
	if err != nil {
		return le.again(db.Event{ClientID: le.lane.ClientID()}, err)
	}
	le.r.mu.Lock()
	defer le.r.unlock()
	le.r.schedule.Expanded(le.lane, more)
	return true
}

// again ends the lease after an error of the store: if that is not the end of the
// process, the account goes on from the file in a while. Of ev as much is set as is
// known. It returns false.
func (le *lease) again(ev db.Event, err error) bool {
	r := le.r
	ending := r.work.Err() != nil || isEnding(err)
	if !ending {
		r.say(slog.LevelError, "the storage failed an account; trying again", ev, err)
	}
	r.mu.Lock()
	defer r.unlock()
	if ending {
		r.schedule.Done(le.lane)
		return false
	}
	r.schedule.Evict(le.lane)
	r.schedule.Delay(le.lane, time.Now().Add(readAgain))
	return false
}

// attempts returns those of the lane's head that count.
func (le *lease) attempts() schedule.Attempts {
	le.r.mu.Lock()
	defer le.r.mu.Unlock()
	return le.r.schedule.Attempts(le.lane)
}

// advance goes on behind n events, which are settled; position is the last one's.
func (le *lease) advance(n int, position int64) {
	le.r.mu.Lock()
	defer le.r.unlock()
	le.r.schedule.Advance(le.lane, n, position)
}
