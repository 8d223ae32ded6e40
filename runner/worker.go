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

// worker is the goroutine of a lease.
type worker struct {
	r         *Runner
	lease     schedule.Lease
	began     time.Time      // when Peek gave out the head
	functions *functions.Set // at that time
	pauses    int64          // Runner.pauses at that time
	settled   int            // events that the schedule doesn't know to be settled yet
	position  int64          // of the last settled event
	calling   int64          // position of the event that a function works on
}

// lease waits for a lane whose turn it is; ok is false after Stop. Others that are ready
// are left to the next call.
func (r *Runner) lease() (lease schedule.Lease, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.stopping {
		if lease, ok = r.schedule.Next(time.Now()); ok {
			return lease, true
		}
		_, delay := r.schedule.Wants()
		r.setTimer(delay)
		r.waiting++
		r.next.Wait()
		r.waiting--
	}
	return schedule.Lease{}, false
}

// take runs a lease. A function that ends its goroutine (runtime.Goexit, as a
// test's FailNow does) has failed its attempt; the lease goes on in another one.
func (r *Runner) take(lease schedule.Lease) {
	w := worker{r: r, lease: lease}
	over := false
	defer func() {
		if !over {
			r.exited(lease, w.calling)
			go r.take(lease)
		}
	}()
	w.run()
	over = true
}

func (r *Runner) exited(lease schedule.Lease, position int64) {
	r.mu.Lock()
	defer r.unlock()
	lease.Exited(position)
}

// run follows the schedule, event after event, until the lease has ended.
func (w *worker) run() {
	for on := true; on; {
		switch step := w.peek(); step.Do {
		case schedule.Run:
			on = w.work(step)
		case schedule.Load:
			on = w.load()
		case schedule.Expand:
			on = w.expand()
		default:
			if on = false; step.Missing != "" {
				w.r.log.Warn("no function for a type that is pending: its accounts wait, without attempts, until there is one", "type", step.Missing)
			}
		}
	}
}

// peek tells the schedule what was settled and asks it what is next. While the process is
// stopping it ends the lease.
func (w *worker) peek() schedule.Step {
	r := w.r
	r.mu.Lock()
	defer r.unlock()
	w.advance()
	if r.stopping {
		w.lease.Done()
		return schedule.Step{}
	}
	w.began, w.functions, w.pauses = time.Now(), r.functions, r.pauses.Load()
	return w.lease.Peek(w.began)
}

// sync is advance where something else is to be reported before the next peek.
func (w *worker) sync() {
	w.r.mu.Lock()
	defer w.r.unlock()
	w.advance()
}

// advance tells the schedule what was settled, before anything else. mu is held.
func (w *worker) advance() {
	if w.settled > 0 {
		w.lease.Advance(w.settled, w.position)
		w.settled = 0
	}
}

// unlock lets pollers, the timer and the drain follow what was done to the schedule, and
// unlocks mu.
func (r *Runner) unlock() {
	next, delay := r.schedule.Wants()
	if next && r.waiting > 0 {
		r.next.Signal()
	}
	r.setTimer(delay)
	if r.stopping && r.schedule.Running() == 0 {
		r.idle.Broadcast()
	}
	r.mu.Unlock()
}

// setTimer sets the timer for the end of the schedule's next delay. mu is held.
func (r *Runner) setTimer(delay time.Time) {
	if !delay.IsZero() && !delay.Equal(r.timerAt) && !r.stopping {
		r.timerAt = delay
		r.timer.Reset(time.Until(delay))
	}
}

// delayOver lets a poller see that a delay has ended.
func (r *Runner) delayOver() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timerAt = time.Time{}
	r.next.Signal()
}

// load reads events of a cold lane. It reports false when the lease has ended.
func (w *worker) load() bool {
	r := w.r
	r.reads <- struct{}{}
	defer func() { <-r.reads }()
	request, ok := w.request()
	if !ok {
		return false
	}
	events, more, err := r.store.PendingAfter(r.work, w.lease.ClientID(), request.After, request.Events, request.Bytes)
	if err != nil {
		return w.again(db.Event{ClientID: w.lease.ClientID()}, err)
	}
	r.mu.Lock()
	defer r.unlock()
	w.lease.Loaded(events, more)
	return true
}

// request returns what to read, or false if the lease has ended for want of memory.
func (w *worker) request() (schedule.Request, bool) {
	w.r.mu.Lock()
	defer w.r.unlock()
	return w.lease.Load()
}

// expand makes the next events of the lane's replay pending. It reports false when the
// lease has ended.
func (w *worker) expand() bool {
	more, err := w.r.store.ExpandReplay(w.lease.ClientID())
	if err != nil {
		return w.again(db.Event{ClientID: w.lease.ClientID()}, err)
	}
	w.r.mu.Lock()
	defer w.r.unlock()
	w.lease.Expanded(more)
	return true
}

// again ends the lease after an error of the store: if that is not the end of the
// process, the account goes on from the file in a while. Of ev as much is set as is
// known. It returns false.
func (w *worker) again(ev db.Event, err error) bool {
	r := w.r
	ending := r.work.Err() != nil || isEnding(err)
	if !ending {
		r.say(slog.LevelError, "the storage failed an account; trying again", ev, err)
	}
	r.mu.Lock()
	defer r.unlock()
	if ending {
		w.lease.Done()
		return false
	}
	w.lease.Evict()
	w.lease.Delay(time.Now().Add(readAgain))
	return false
}

// attempts returns those of the lane's head that count.
func (w *worker) attempts() schedule.Attempts {
	w.r.mu.Lock()
	defer w.r.unlock()
	return w.lease.Attempts()
}
