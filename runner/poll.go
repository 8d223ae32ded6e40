package runner

import (
	"time"

	"github.com/oklog/run"
)

const stopGrace = 5 * time.Second // for cancelled calls to return

// AddTo adds the pollers to g, and an actor that stays until every account has left
// its function: the calls get drain to return, then their context is cancelled.
func (r *Runner) AddTo(g *run.Group, drain time.Duration) {
	for range r.o.Pollers {
		g.Add(r.poll, func(error) { r.Stop() })
	}
	g.Add(func() error {
		<-r.stopped
		return r.drain(drain)
	}, func(error) { r.Stop() })
}

// poll takes leases and starts their goroutines, until Stop.
func (r *Runner) poll() error {
	for {
		lease, ok := r.lease()
		if !ok {
			return nil
		}
		go r.take(lease)
	}
}

// Stop stops the taking of leases. It does not wait.
func (r *Runner) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return
	}
	r.stopping = true
	r.timer.Stop()
	close(r.stopped)
	r.next.Broadcast()
}

// Abort is Stop where the storage has failed: nothing can be recorded any more, so
// calls are cancelled at once.
func (r *Runner) Abort() {
	r.Stop()
	r.cancel(ErrStopping)
}

// drain waits for the calls; those that don't return even when cancelled are named
// and left behind. They can write nothing once the database is closed.
func (r *Runner) drain(patience time.Duration) error {
	defer r.cancel(ErrStopping)
	if r.work.Err() == nil && r.waitIdle(patience) {
		return nil
	}
	r.log.Warn("functions are cancelled", "accounts", r.inside())
	r.cancel(ErrStopping)
	if !r.waitIdle(stopGrace) {
		r.log.Error("functions ignore that they were cancelled and are left behind", "accounts", r.inside())
	}
	return nil
}

// waitIdle waits until no lane is leased, and reports false if patience ends before.
func (r *Runner) waitIdle(patience time.Duration) bool {
	over := false
	t := time.AfterFunc(patience, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		over = true
		r.idle.Broadcast()
	})
	defer t.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.schedule.Running() > 0 && !over {
		r.idle.Wait()
	}
	return r.schedule.Running() == 0
}

// inside returns how many accounts are inside functions, or wait for their settle.
func (r *Runner) inside() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.schedule.Running()
}
