package sqlite

import (
	"log/slog"
	"runtime"
	"sync"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
)

// executor is the goroutine that executes groups while the committer waits: an effect
// that never returns keeps the executor, and the committer goes on with another.
type executor struct {
	bound   time.Duration // of an effect
	groups  chan []*operation
	results chan progress // cap 1
	at      int           // the operation that is executed

	mu      sync.Mutex
	tx      *effectTx     // of the effect that runs, else nil
	began   time.Time     // the effect's begin, or its interruption
	stopped chan struct{} // the effect was too slow; closed when nothing interrupts it any more
	left    bool          // nobody waits for the effect any more
}

// progress is how far a group got.
type progress struct {
	done int // operations; the next one has failed with err
	err  error
	gone bool // the goroutine ended
}

func newExecutor(w *writer) *executor {
	h := &executor{bound: w.limits.effect, groups: make(chan []*operation), results: make(chan progress, 1)}
	go h.run(w)
	return h
}

func (h *executor) run(w *writer) {
	for ops := range h.groups {
		h.execute(w, ops)
	}
}

func (h *executor) execute(w *writer, ops []*operation) {
	res := progress{err: &commit.Error{Class: commit.TxAborted, Err: errGoexit}, gone: true}
	defer func() {
		res.done = h.at
		h.results <- res
	}()
	err := w.inTurn(ops, &h.at)
	res = progress{err: err}
}

// inTurn executes ops and counts in at how many have been. It stops early, without an
// error, once the group has taken long enough.
func (w *writer) inTurn(ops []*operation, at *int) error {
	began := time.Now()
	w.now = began.UnixMicro()
	for *at = 0; *at < len(ops); {
		if err := w.do(ops[*at]); err != nil {
			return err
		}
		if *at++; time.Since(began) > maxGroupTime {
			break
		}
	}
	return nil
}

// execute returns how many of ops were executed, and why the next one was not. Each
// effect has MaxEffect until it is interrupted, and once more until it is left
// behind; its Tx is dead by then, so it can write nothing.
func (w groups) execute(ops []*operation) (done int, err error) {
	if !haveEffects(ops) { // nothing of a function's runs, so nothing can be late
		err = w.inTurn(ops, &done)
		return done, err
	}
	h := w.executor
	h.groups <- ops
	defer w.executorTimer.Stop()
	for wait := h.bound; ; {
		w.executorTimer.Reset(wait)
		select {
		case res := <-h.results:
			if res.gone {
				w.executor = newExecutor(w.writer)
			}
			return res.done, res.err
		case <-w.executorTimer.C:
		}
		var tx *effectTx
		var stopped chan struct{}
		switch tx, stopped, wait = h.late(); {
		case stopped != nil:
			tx.interrupt()
			close(stopped)
		case tx != nil:
			w.events.slow(tx.event, 2*h.bound)
			w.events.say(slog.LevelError, "an effect does not return and is left behind", tx.event)
			_ = tx.close() // the group ends anyway
			w.executor = newExecutor(w.writer)
			return h.at, &commit.Error{Class: commit.TxAborted, Err: db.ErrEffectTooSlow}
		}
	}
}

func haveEffects(ops []*operation) bool {
	for _, op := range ops {
		if _, ok := op.Work.(*settleOp); ok {
			return true
		}
	}
	return false
}

// interrupt makes an effect's Tx refuse everything. A statement that runs now ends with
// SQLITE_INTERRUPT and lets the refusal pass.
func (tx *effectTx) interrupt() {
	stopped := make(chan struct{})
	go func() {
		tx.stop(db.ErrEffectTooSlow)
		close(stopped)
	}()
	for {
		tx.w.conn.Interrupt()
		select {
		case <-stopped:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (h *executor) begin(tx *effectTx) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tx, h.began = tx, time.Now()
}

// end says how long the effect took, and whether that was too long. Where it was left
// behind, the goroutine ends: everything belongs to others now.
func (h *executor) end() (took time.Duration, slow bool) {
	h.mu.Lock()
	took = time.Since(h.began)
	stopped, left := h.stopped, h.left
	h.tx, h.stopped = nil, nil
	h.mu.Unlock()
	if left {
		runtime.Goexit()
	}
	if stopped != nil {
		<-stopped
		took += h.bound
	}
	return took, stopped != nil
}

// late returns the Tx of an effect that has run for too long, and what to close once
// nothing interrupts it any more; stopped is nil where it was interrupted before, and
// it is left behind now. wait is how long until the next look.
func (h *executor) late() (tx *effectTx, stopped chan struct{}, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ran := time.Since(h.began)
	switch {
	case h.tx == nil:
		return nil, nil, h.bound
	case ran < h.bound:
		return nil, nil, h.bound - ran
	case h.stopped == nil:
		h.stopped, h.began = make(chan struct{}), h.began.Add(ran)
		return h.tx, h.stopped, h.bound
	}
	h.left = true
	return h.tx, nil, 0
}
