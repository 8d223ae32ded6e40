package runner

// limit is the slots of a function that says MaxConcurrent.
type limit struct {
	n       int
	active  int
	waiting fifo
}

// acquire takes a slot of lim (nil: none is needed), or puts the lane in its queue.
func (r *Runner) acquire(l *lane, lim *limit) bool {
	if lim == nil && l.slot == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	handed := l.slot
	l.slot = nil
	if handed != nil && handed != lim {
		r.free(handed) // its head has changed while it waited
		handed = nil
	}
	switch {
	case lim == nil:
		return true
	case handed != nil:
	case lim.active < lim.n:
		lim.active++
	default:
		if r.bytes > r.o.HotBytes/2 {
			r.forget(l) // others can run with this memory
		}
		lim.waiting.push(l)
		r.aside(l, waiting)
		return false
	}
	l.lease.inSlot = lim
	return true
}

// release gives the slot of a call back.
func (r *Runner) release(l *lane) {
	if l.lease.inSlot == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freeSlots(l)
}

// freeSlots gives back what l has of slots. mu is held.
func (r *Runner) freeSlots(l *lane) {
	for _, lim := range [...]*limit{l.lease.inSlot, l.slot} {
		if lim != nil {
			r.free(lim)
		}
	}
	l.lease.inSlot, l.slot = nil, nil
}

// free hands a slot to the first lane that waits for it. mu is held.
func (r *Runner) free(lim *limit) {
	if l := lim.waiting.pop(); l != nil {
		l.slot = lim
		r.makeReady(l)
		return
	}
	lim.active--
}
