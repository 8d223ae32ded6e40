package runner

// State is what an account does now, as people see it.
type State string

// The states of an account.
const (
	Idle     State = "idle"     // nothing is pending
	Ready    State = "ready"    // waits for a turn, for a slot of its function, or for the end of a pause
	Running  State = "running"  // inside a function, or waiting for its settle
	Retrying State = "retrying" // its head failed and waits for the next attempt
	Parked   State = "parked"   // waits for a person
	Stuck    State = "stuck"    // inside a function that is over its time limit and does not return
)

// State returns what an account does at this moment. One that has nothing pending,
// or never sent anything, is Idle.
func (r *Runner) State(clientID string) State {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[clientID]
	if l == nil {
		return Idle
	}
	return r.stateOf(l)
}

// stateOf is the state of an account that has a lane. mu is held.
func (r *Runner) stateOf(l *lane) State {
	switch {
	case l.stuck:
		return Stuck
	case l.state == running:
		return Running
	case l.state == retrying:
		return Retrying
	case l.state == parked:
		return Parked
	}
	return Ready
}

// unstick: the function has returned after all.
func (r *Runner) unstick(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.stuck {
		l.stuck = false
		r.stuck--
		r.judge(l)
	}
}
