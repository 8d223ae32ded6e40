package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/functions"
	"inturn/runner/schedule"
)

// fakeStore keeps in memory what *sqlite.DB keeps in the file, with its contract: it
// publishes in the order of commits, and the pending row is the fence of a run.
type fakeStore struct {
	t tester
	r *Runner

	mu      sync.Mutex // one commit and its publication
	next    int64
	pending map[string][]db.Event
	settled map[string][]db.Settlement // in order
	holds   map[string]db.Hold         // last one of an account that is held
	all     []db.Hold
	reads   int

	// Hooks, called without mu. Nil does nothing.
	settling func([]db.Settlement) error // an error before anything is settled
	holding  func(db.Hold) error
	reading  func(clientID string) error
	read     func(clientID string) // after the snapshot was taken
	held1    func()                // once, after a Hold was handed over and before it returns
}

func (s *fakeStore) commit(evs ...db.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range evs {
		s.next++
		evs[i].Seq, evs[i].Position, evs[i].Run = s.next, s.next, 1
		s.pending[evs[i].ClientID] = append(s.pending[evs[i].ClientID], evs[i])
	}
	s.r.Appended(evs)
}

func (s *fakeStore) Settle(items []db.Settlement) (int, error) {
	if s.settling != nil {
		if err := s.settling(items); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, it := range items {
		if it.Status == db.Done && it.Effect != nil {
			if _, err := it.Effect(nil); err != nil {
				return n, err
			}
		}
		if !s.end(it.Event) {
			return n, db.ErrSuperseded
		}
		_, held := s.holds[it.Event.ClientID]
		if held != it.Held {
			s.t.Errorf("settlement of %s %s says held %v, it is %v", it.Event.ClientID, it.Event.MessageID, it.Held, held)
		}
		delete(s.holds, it.Event.ClientID)
		s.settled[it.Event.ClientID] = append(s.settled[it.Event.ClientID], it)
	}
	return len(items), nil
}

// end removes a pending row, wherever it stands, as the file would.
func (s *fakeStore) end(ev db.Event) bool {
	for i, p := range s.pending[ev.ClientID] {
		if p.Position == ev.Position {
			s.pending[ev.ClientID] = append(s.pending[ev.ClientID][:i:i], s.pending[ev.ClientID][i+1:]...)
			return true
		}
	}
	return false
}

func (s *fakeStore) ExpandReplay(string) (bool, error) { return false, nil }

// skip ends an event as a person would.
func (s *fakeStore) skip(ev db.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(ev)
	if s.holds[ev.ClientID].Event.Position == ev.Position {
		delete(s.holds, ev.ClientID)
	}
}

func (s *fakeStore) Hold(h db.Hold) error {
	if s.holding != nil {
		if err := s.holding(h); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending[h.Event.ClientID] {
		if p.Position == h.Event.Position {
			s.all = append(s.all, h)
			if h.Attempts == 0 && !h.Park {
				delete(s.holds, h.Event.ClientID)
			} else {
				s.holds[h.Event.ClientID] = h
			}
			c := db.Change{ClientID: h.Event.ClientID, Attempts: h.Attempts, Parked: h.Park}
			if !h.Park {
				c.NextAt = h.NextAt
			}
			s.r.Changed([]db.Change{c})
			if s.held1 != nil {
				f := s.held1
				s.held1 = nil
				f()
			}
			return nil
		}
	}
	return db.ErrSuperseded
}

func (s *fakeStore) PendingAfter(ctx context.Context, clientID string, after int64, limit, maxBytes int) ([]db.Event, bool, error) {
	if s.reading != nil {
		if err := s.reading(clientID); err != nil {
			return nil, false, err
		}
	}
	evs, more := s.snapshot(clientID, after, limit, maxBytes)
	if s.read != nil {
		s.read(clientID)
	}
	return evs, more, ctx.Err()
}

func (s *fakeStore) snapshot(clientID string, after int64, limit, maxBytes int) (evs []db.Event, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	for _, p := range s.pending[clientID] {
		if p.Position <= after {
			continue
		}
		if maxBytes -= len(p.Payload); maxBytes < 0 && len(evs) > 0 {
			return evs, true
		}
		if evs = append(evs, p); len(evs) == limit {
			return evs, true
		}
	}
	return evs, false
}

// ended returns the message ids of an account's settled events, in order.
func (s *fakeStore) ended(clientID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := []string{}
	for _, it := range s.settled[clientID] {
		ids = append(ids, it.Event.MessageID)
	}
	return ids
}

func (s *fakeStore) held(clientID string) (db.Hold, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.holds[clientID]
	return h, ok
}

// tester is what a rig needs of a test: the property test gives another one.
type tester interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Cleanup(f func())
	Output() io.Writer
}

var _ tester = (*testing.T)(nil)

// rig is a runner on a fake store. It must be used in a synctest bubble.
type rig struct {
	*fakeStore
	t     tester
	stop  func()
	ended chan error
	drain time.Duration
}

// newRig makes a rig that is not started yet.
func newRig(t tester, o Options, fns ...functions.Function) *rig {
	t.Helper()
	set, err := functions.NewSet(fns...)
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeStore{t: t, pending: map[string][]db.Event{}, settled: map[string][]db.Settlement{}, holds: map[string]db.Hold{}}
	o.Store, o.Functions = s, set
	if o.Pollers == 0 {
		o.Pollers = 2
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	s.r = New(o)
	return &rig{fakeStore: s, t: t, ended: make(chan error, 1), drain: 30 * time.Second}
}

// start lets the runner run until the end of the test.
func (g *rig) start(backlog []db.Backlog, unclean bool) *rig {
	g.r.Start(backlog, nil, unclean)
	var group run.Group
	g.r.AddTo(&group, g.drain)
	quit := make(chan struct{})
	g.stop = sync.OnceFunc(func() { close(quit) })
	group.Add(func() error { <-quit; return nil }, func(error) { g.stop() })
	go func() { g.ended <- group.Run() }()
	g.t.Cleanup(func() {
		g.stop()
		if err := <-g.ended; err != nil {
			g.t.Error("the group ended with", err)
		}
	})
	return g
}

// settle waits, without the clock, until nothing can happen by itself.
func (g *rig) settle() { synctest.Wait() }

// sleep lets time pass in the bubble.
func (g *rig) sleep(d time.Duration) { time.Sleep(d); synctest.Wait() }

// books checks that nothing is left in the runner once everything was settled.
func (g *rig) books() {
	g.t.Helper()
	synctest.Wait()
	r := g.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.schedule.Verify(); err != nil {
		g.t.Error(err)
	}
	left := r.schedule.Stats()
	left.Examined = 0
	if left != (schedule.Stats{}) {
		g.t.Errorf("the schedule is left with %+v, want nothing", left)
	}
	if len(r.reads) != 0 {
		g.t.Errorf("%d reads are in progress", len(r.reads))
	}
}

// cold forgets what Appended said, as a restart does.
func (g *rig) cold() { g.r.schedule = newSchedule(g.r.o) }

// stats is what the schedule counts.
func (g *rig) stats() schedule.Stats {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	return g.r.schedule.Stats()
}

// event is one of type typ; its payload is of about n bytes.
func event(client, id, typ string, n int) db.Event {
	b, err := json.Marshal(make([]byte, n*3/4))
	if err != nil {
		panic(err)
	}
	return db.Event{ClientID: client, MessageID: id, Type: typ, Payload: b}
}

// series is events 0..n-1 of one client.
func series(client, typ string, n, bytes int) []db.Event {
	evs := make([]db.Event, n)
	for i := range evs {
		evs[i] = event(client, fmt.Sprint(i), typ, bytes)
	}
	return evs
}

func ids(n int) []string {
	s := []string{}
	for i := range n {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

// fn is a function whose work is w, which needs no payload.
func fn(name string, w func(context.Context, db.Event) error, opts ...functions.Option) functions.Function {
	return functions.New(name, func(ctx context.Context, ev functions.Event, _ any) (functions.Effect, error) {
		return nil, w(ctx, ev)
	}, opts...)
}

var errTest = errors.New("it failed")
