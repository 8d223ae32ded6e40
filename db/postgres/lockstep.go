package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
)

// lockstep runs the effects of a group: each chain on a goroutine of its own, and the next
// statements of all in one trip. Effects of one account are a chain. So are all effects that
// may touch rows of other accounts: they run one after another.
type lockstep struct {
	g        *group
	limited  bool          // statements have a timeout now
	requests chan *request // of as many as there are chains
	over     chan struct{} // closed when nobody answers any more
	began    time.Time
	failed   error
}

// request is what a chain asks for, or how it has ended.
type request struct {
	chain   *chain
	build   func() ([]*call, error) // called on the lockstep's goroutine; nil: the chain has ended
	failure error                   // why it has ended; nil: all went well
	err     error                   // the answer
	done    chan struct{}
}

// chain is effects that run one after another. What its goroutine writes is the chain's own:
// one that is left behind may go on while its operations run again.
type chain struct {
	l       *lockstep
	steps   []step
	outputs []*string    // of the effects of steps, JSON
	at      atomic.Int64 // the step that runs; len(steps): the chain has ended well
}

// step is one settlement of an operation.
type step struct {
	op *settleOp
	i  int
}

// add adds what an operation has to run.
func (c *chain) add(o *settleOp) {
	for i := range o.op.Left() {
		c.steps = append(c.steps, step{o, i})
	}
	c.outputs = make([]*string, len(c.steps))
}

// current returns the operation of the step that runs.
func (c *chain) current() *op {
	return c.steps[min(int(c.at.Load()), len(c.steps)-1)].op.op
}

// note tells the operations which of their steps the chain has run. It is called on the
// lockstep's goroutine.
func (c *chain) note() {
	at := int(c.at.Load())
	for begin := 0; begin < len(c.steps); {
		o, end := c.steps[begin].op, begin
		for ; end < len(c.steps) && c.steps[end].op == o; end++ {
			if end < at {
				o.outputs[c.steps[end].i] = c.outputs[end]
			}
		}
		_ = o.op.Run(func(i int) (own, group error) {
			if begin+i < at {
				return nil, nil
			}
			return nil, errGroupOver // why it is over is known to the lockstep
		})
		begin = end
	}
}

func newLockstep(g *group) *lockstep {
	l := &lockstep{g: g, over: make(chan struct{}), began: time.Now()}
	return l
}

// chains returns the chains of the group's effects; serial reports whether one may touch
// rows of other accounts.
func (l *lockstep) chains() (list []*chain, serial bool) {
	var one *chain
	for _, o := range l.g.settles {
		switch {
		case !o.hasEffects():
		case o.parallel():
			c := &chain{l: l}
			c.add(o)
			list = append(list, c)
		default:
			if one == nil {
				one = &chain{l: l}
			}
			one.add(o)
		}
	}
	if one != nil {
		list = append(list, one)
	}
	return list, one != nil
}

// run returns when all effects have ended. An error ends the group.
func (l *lockstep) run() error {
	defer close(l.over)
	chains, serial := l.chains()
	if len(chains) == 0 {
		return nil
	}
	g := l.g
	if serial { // no other writer's serial effects run until the commit
		g.queued = append(g.queued, &call{text: "SELECT 1 FROM function_tables WHERE function = '' FOR UPDATE"})
	}
	g.queued = append(g.queued, &call{text: fmt.Sprintf("SET LOCAL statement_timeout = %d", max(g.w.limits.effect.Milliseconds(), 1))})
	l.limited = true
	l.requests = make(chan *request, len(chains))
	for _, c := range chains {
		go c.run()
	}
	for running := len(chains); running > 0; {
		waiting, err := l.collect(chains, running)
		if err != nil {
			return err
		}
		if running = len(waiting); running > 0 {
			l.send(waiting)
		}
		for _, r := range waiting {
			close(r.done)
		}
	}
	return l.failed
}

// collect waits until each of the running chains asks for something, or has ended.
func (l *lockstep) collect(chains []*chain, running int) (waiting []*request, err error) {
	bound := l.g.w.limits.effect
	t := time.NewTimer(bound + bound/4) // an effect that asks finds out by itself that it is late
	defer t.Stop()
	for range running {
		select {
		case r := <-l.requests:
			if r.build != nil {
				waiting = append(waiting, r)
				continue
			}
			r.chain.note()
			if r.failure != nil && !errors.Is(r.failure, errGroupOver) {
				l.fail(failure(commit.Own, r.chain.current(), r.failure))
			}
		case <-t.C:
			return nil, l.leave(chains)
		}
	}
	return waiting, nil
}

// leave is called when an effect does not return. It may go on, and can write nothing.
func (l *lockstep) leave(chains []*chain) error {
	if len(l.g.ops) > 1 {
		return failure(commit.Own, nil, db.ErrEffectTooSlow) // the halves find out whose it is
	}
	chains[0].note()
	o := l.g.settles[0]
	l.g.w.events.say(slog.LevelError, "an effect does not return and is left behind", o.items[0].Event)
	return failure(commit.Own, o.op, db.ErrEffectTooSlow)
}

var errGroupOver = errors.New("the transaction of the effect's group has ended")

// send makes one trip for all that is waiting. After an error nothing is sent any more.
func (l *lockstep) send(waiting []*request) {
	var calls []*call
	var of []*request
	for _, r := range waiting {
		if l.failed != nil {
			break
		}
		mine, err := r.build()
		if err != nil {
			r.err = err
			l.fail(failure(ownUnlessServer(err), r.chain.current(), err))
		}
		for _, c := range mine {
			calls, of = append(calls, c), append(of, r)
		}
	}
	if l.failed == nil {
		switch at, err := l.g.trip(calls); {
		case err == nil:
		case at < 0:
			l.fail(err)
		default:
			if tooSlow(err) {
				err = refusal{db.ErrEffectTooSlow}
			}
			of[at].err = err
			l.fail(failure(ownUnlessServer(err), of[at].chain.current(), err))
		}
	}
	for _, r := range waiting {
		if l.failed != nil && r.err == nil {
			r.err = errGroupOver
		}
	}
}

// fail notes why the group ends.
func (l *lockstep) fail(err error) {
	if l.failed == nil {
		l.failed = err
	}
}

// ask sends a request and waits for its end.
func (c *chain) ask(r *request) error {
	r.chain, r.done = c, make(chan struct{})
	select {
	case c.l.requests <- r:
	case <-c.l.over:
		return errTxOver
	}
	select {
	case <-r.done:
		return r.err
	case <-c.l.over:
		return errTxOver
	}
}

// run runs the chain's effects until one fails.
func (c *chain) run() {
	end := &request{chain: c, failure: errGoexit}
	defer func() {
		select {
		case c.l.requests <- end:
		case <-c.l.over:
		}
	}()
	end.failure = c.effects()
}

func (c *chain) effects() (err error) {
	for i, at := range c.steps {
		c.at.Store(int64(i))
		s := &at.op.items[at.i]
		if s.Effect == nil || s.Status == db.Dead {
			continue
		}
		if c.outputs[i], err = c.effect(s); err != nil {
			return err
		}
	}
	c.at.Store(int64(len(c.steps)))
	return nil
}

var errGoexit = errors.New("the effect ended its goroutine")

// effect runs one effect and returns its result as JSON.
func (c *chain) effect(s *db.Settlement) (out *string, err error) {
	tx := &effectTx{chain: c, event: s.Event, began: time.Now(), strict: len(c.l.g.ops) == 1}
	defer func() {
		if p := recover(); p != nil {
			pe := &db.PanicError{Value: p, Stack: debug.Stack()}
			c.l.g.w.events.say(slog.LevelError, "an effect panicked", s.Event, slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(pe.Stack)))
			out, err = nil, pe
		}
		if broken := tx.close(); broken != nil {
			out, err = nil, broken // also where the effect has swallowed it
		}
		if took := tx.took(); took > db.SlowEffect {
			c.l.g.w.events.slow(s.Event, took)
		}
	}()
	value, err := s.Effect(tx)
	if err != nil || value == nil {
		return nil, err
	}
	b, err := json.Marshal(value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("result: %w", err)
	case len(b) > db.MaxOutput:
		return nil, fmt.Errorf("result: %d bytes are more than %d", len(b), db.MaxOutput)
	}
	text := stored(string(b))
	return &text, nil
}
