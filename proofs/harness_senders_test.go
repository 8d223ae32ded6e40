package proofs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fleet is many senders and what they know. Each has accounts of its own and one
// request at a time, and goes on only when it was answered: so within an account its
// own counters are the order in which events were accepted.
type fleet struct {
	client  *client
	senders []*sender
	url     atomic.Pointer[string] // where events are taken now
	pause   time.Duration          // of each sender from an event to the next, on average

	// Counts since the last run began.
	answered   atomic.Int64
	repeats    atomic.Int64
	unanswered atomic.Int64 // whole requests without an answer
	refused    atomic.Int64 // 503 and 429

	mu    sync.Mutex
	wrong []string // what no server may answer
	times []time.Duration
	longs []time.Time // when long events were answered, in this run
	keeps bool
	taken []event // the answered ones, where keeps is set
}

// sender is one of them. Its fields are its goroutine's while it runs.
type sender struct {
	f        *fleet
	n        int
	rnd      *rand.Rand
	next     func(s *sender) event
	account  string
	counter  int
	accounts int
	sent     []event // in the order of sending; the last one may be unanswered
	sample   bool    // its answers' times are kept
}

// newFleet makes senders: messages send chat messages, each for an account of its
// own; workers send work, with new accounts all the time.
func newFleet(t testing.TB, seed uint64, c *client, messages, workers int) *fleet {
	f := &fleet{client: c}
	for i := range messages + workers {
		s := &sender{f: f, n: i, rnd: rand.New(rand.NewPCG(seed, uint64(i))), next: nextMessage}
		if i >= messages {
			s.next = nextWork
		}
		f.senders = append(f.senders, s)
	}
	t.Cleanup(func() {
		for _, w := range f.wrong {
			t.Error(w)
		}
	})
	return f
}

// accountEvents is after how many messages a sender takes a new account.
const accountEvents = 200

func nextMessage(s *sender) event {
	if s.account == "" || s.counter == accountEvents {
		s.account, s.counter = fmt.Sprintf("chat-%d-%d", s.n, s.accounts), 0
		s.accounts++
	}
	ev := messageEvent(s.account, s.counter, s.rnd.IntN(3))
	s.counter++
	return ev
}

// Each account of a worker has one event that takes longer.
const (
	longWork    = 3 * time.Second
	longCounter = 1
)

// nextWork makes accounts with one long event between short ones.
func nextWork(s *sender) event {
	if s.account == "" || s.counter == 4 {
		s.account, s.counter = fmt.Sprintf("work-%d-%d", s.n, s.accounts), 0
		s.accounts++
	}
	takes := time.Duration(s.rnd.IntN(5)) * time.Millisecond
	if s.counter == longCounter {
		takes = longWork
	}
	ev := workEvent(s.account, s.counter, takes)
	s.counter++
	return ev
}

// run lets all senders send to url until the returned function is called, which
// waits for the last answers. Each first repeats what it doesn't know, and something
// that was answered. A sender that finds nobody ends if once is set, else it goes on
// trying.
func (f *fleet) run(url string, once bool) (stop func()) {
	f.url.Store(&url)
	f.answered.Store(0)
	f.repeats.Store(0)
	f.unanswered.Store(0)
	f.refused.Store(0)
	f.mu.Lock()
	f.longs = nil
	f.mu.Unlock()
	quit := make(chan struct{})
	var all sync.WaitGroup
	for _, s := range f.senders {
		all.Go(func() { s.run(quit, once) })
	}
	return func() {
		close(quit)
		all.Wait()
	}
}

func (f *fleet) complain(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.wrong) < 20 {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

func (s *sender) run(quit <-chan struct{}, once bool) {
	if n := len(s.sent); n > 0 && s.sent[n-1].seq == 0 && !s.deliver(&s.sent[n-1], quit, once) {
		return
	}
	if n := len(s.sent); n > 0 && !s.repeat(s.sent[s.rnd.IntN(n)], quit, once) {
		return
	}
	for next := time.Now(); ; {
		select {
		case <-quit:
			return
		case <-time.After(time.Until(next)):
		}
		next = time.Now().Add(time.Duration(s.rnd.Float64() * 2 * float64(s.f.pause)))
		s.sent = append(s.sent, s.next(s))
		if !s.deliver(&s.sent[len(s.sent)-1], quit, once) {
			return
		}
	}
}

// deliver sends ev until it is answered; false means that the sender has to end.
func (s *sender) deliver(ev *event, quit <-chan struct{}, once bool) bool {
	for {
		began := time.Now()
		a, ok := s.request(*ev, quit, once)
		if !ok {
			ev.maybe = true
			return false
		}
		ev.tries++
		switch {
		case a.Status == 0: // nobody there, or no answer
			ev.maybe = true
			continue
		case a.taken():
			if a.Duplicate && !ev.maybe {
				s.f.complain("%s %s is called a repeat, and nothing was stored before", ev.client, ev.id)
			}
			ev.seq = a.Seq
			s.f.note(s, ev, began)
			s.f.answered.Add(1)
			return true
		case a.problem() == "outcome-unknown":
			ev.maybe = true
		}
		if !s.wait(quit) {
			return false
		}
	}
}

func (f *fleet) note(s *sender, ev *event, began time.Time) {
	now := time.Now()
	if !s.sample && !ev.long() && !f.keeps {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keeps {
		f.taken = append(f.taken, *ev)
	}
	if s.sample {
		f.times = append(f.times, now.Sub(began))
	}
	if ev.long() {
		f.longs = append(f.longs, now)
	}
}

// known is what was answered until now, where keeps is set.
func (f *fleet) known() []event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.taken)
}

// working is about how many long events are being worked on, of those that were
// answered in this run.
func (f *fleet) working() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.longs {
		if time.Since(at) < longWork*2/3 {
			n++
		}
	}
	return n
}

// repeat sends again what was answered, and wants the same answer.
func (s *sender) repeat(ev event, quit <-chan struct{}, once bool) bool {
	for {
		a, ok := s.request(ev, quit, once)
		switch {
		case !ok:
			return false
		case a.taken():
			if a.Seq != ev.seq || !a.Duplicate {
				s.f.complain("%s %s was answered with seq %d, and its repeat with seq %d, duplicate %t", ev.client, ev.id, ev.seq, a.Seq, a.Duplicate)
			}
			s.f.repeats.Add(1)
			return true
		case a.Status != 0 && !s.wait(quit):
			return false
		}
	}
}

// request makes one request. Its answer is taken, a refusal for now, or empty
// where the server is gone; ok is false if the sender has to end.
func (s *sender) request(ev event, quit <-chan struct{}, once bool) (a answer, ok bool) {
	a, err := s.f.client.post(context.Background(), *s.f.url.Load(), ev)
	switch {
	case err != nil:
		if _, sent := errors.AsType[*unansweredError](err); sent {
			s.f.unanswered.Add(1)
		}
		if once {
			return answer{}, false
		}
		return answer{}, s.wait(quit)
	case a.taken():
	case a.Status == 503 && a.RetryAfter > 0, a.Status == 429 && a.RetryAfter > 0:
		s.f.refused.Add(1)
	default:
		s.f.complain("%s %s was answered %d %s %s, Retry-After %d", ev.client, ev.id, a.Status, a.Type, a.Detail, a.RetryAfter)
		return a, false
	}
	return a, true
}

// wait is shorter than Retry-After asks, so that repeats come early.
func (s *sender) wait(quit <-chan struct{}) bool {
	select {
	case <-quit:
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

// percentiles of the kept times, which are then forgotten.
func (f *fleet) percentiles(of ...float64) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.times)
	list := make([]time.Duration, len(of))
	for i, p := range of {
		if n := len(f.times); n > 0 {
			list[i] = f.times[min(n-1, int(p*float64(n)))]
		}
	}
	f.times = f.times[:0]
	return list
}

func (f *fleet) String() string {
	return strconv.FormatInt(f.answered.Load(), 10) + " answered, " + strconv.FormatInt(f.repeats.Load(), 10) + " repeats, " +
		strconv.FormatInt(f.unanswered.Load(), 10) + " unanswered, " + strconv.FormatInt(f.refused.Load(), 10) + " refused"
}
