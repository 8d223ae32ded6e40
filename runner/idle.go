package runner

// Busy reports whether an account runs, could run, or waits for its next attempt: the
// process has something to do then, or will have, without anybody's doing. What waits
// for a person, parked or paused, doesn't count.
func (r *Runner) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		return r.running > 0
	}
	return len(r.lanes) > r.states[parked]+r.states[paused]
}
