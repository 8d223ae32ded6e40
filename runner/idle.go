package runner

// Busy reports whether an account runs, could run, or waits for its next attempt: the
// process has something to do then, or will have, without anybody's doing. Accounts
// that wait for a person don't count.
func (r *Runner) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lanes) > r.states[parked]
}
