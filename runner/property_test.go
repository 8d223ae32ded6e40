package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"inturn/db"
	"inturn/functions"
)

// outcome is how one attempt of an event ends.
type outcome int

const (
	fails outcome = iota
	retriesNow
	retriesLater
	rejects
	postpones // once, and fails then
	panics
	exits   // its goroutine
	effects // fail
	superseded
	overtime
	outcomes
)

// planned is an event of a plan, with the outcomes of its first attempts; the next
// one succeeds.
type planned struct {
	client, typ string
	bytes       int
	takes       time.Duration
	first       []outcome
}

// plan is one run of the property test: what is drawn before the bubble begins.
type plan struct {
	options  Options
	unclean  bool
	readTime time.Duration
	stored   []planned   // in the file at the start
	commits  [][]planned // while it runs
	pauses   []time.Duration
}

func drawPlan(t *rapid.T) plan {
	event := rapid.Custom(func(t *rapid.T) planned {
		p := planned{
			client: rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "client"),
			typ:    rapid.SampledFrom([]string{"plain", "slots", "ahead"}).Draw(t, "type"),
			bytes:  rapid.SampledFrom([]int{0, 100, 3000}).Draw(t, "bytes"),
			takes:  rapid.SampledFrom([]time.Duration{0, time.Millisecond, 300 * time.Millisecond}).Draw(t, "takes"),
		}
		if rapid.IntRange(0, 3).Draw(t, "trouble") == 0 {
			p.first = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) outcome {
				return outcome(rapid.IntRange(0, int(outcomes)-1).Draw(t, "outcome"))
			}), 1, 3).Draw(t, "first")
		}
		return p
	})
	p := plan{
		options: Options{
			InFlight: rapid.IntRange(1, 6).Draw(t, "in flight"),
			Pollers:  rapid.IntRange(1, 3).Draw(t, "pollers"),
			Slice:    rapid.IntRange(1, 8).Draw(t, "slice"),
			HotBytes: rapid.SampledFrom([]int{1, 2000, 16 << 10, 1 << 20}).Draw(t, "hot bytes"),
		},
		unclean:  rapid.Bool().Draw(t, "unclean"),
		readTime: rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second}).Draw(t, "read time"),
		stored:   rapid.SliceOfN(event, 0, 20).Draw(t, "stored"),
		commits:  rapid.SliceOfN(rapid.SliceOfN(event, 1, 10), 0, 10).Draw(t, "commits"),
	}
	for range p.commits {
		p.pauses = append(p.pauses, rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, time.Minute}).Draw(t, "pause"))
	}
	return p
}

// Whatever is published, and however attempts end: every event is ended once and in
// order, and nothing is left in the runner's books.
func TestBooksBalance(t *testing.T) {
	rounds := 5 // of rapid's 100 plans
	if os.Getenv("INTURN_LONG") != "" {
		rounds = 50
	}
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) {
			p := drawPlan(rt)
			c := &collector{}
			synctest.Test(t, func(*testing.T) { p.run(c) })
			if len(c.errors) > 0 {
				rt.Fatalf("%s", c.errors)
			}
		})
	}
}

func (p plan) run(t *collector) {
	defer t.end()
	var mu sync.Mutex
	script := map[string]planned{} // by client/message
	var g *rig
	var m, slots meter
	postponed := map[string]bool{}

	work := func(_ context.Context, ev functions.Event, _ any) (functions.Effect, error) {
		defer m.in(ev)()
		if ev.Type == "slots" {
			defer slots.in(ev)()
		}
		mu.Lock()
		e := script[ev.ClientID+"/"+ev.MessageID]
		again := postponed[ev.ClientID+"/"+ev.MessageID]
		mu.Unlock()
		if ev.Type != "ahead" {
			time.Sleep(e.takes)
		}
		if ev.Attempt > len(e.first) {
			return nil, nil
		}
		switch e.first[ev.Attempt-1] {
		case fails:
			return nil, errTest
		case retriesNow:
			return nil, functions.Retry(0, errTest)
		case retriesLater:
			return nil, functions.Retry(time.Minute, errTest)
		case rejects:
			return nil, functions.Reject(errTest)
		case postpones:
			mu.Lock()
			postponed[ev.ClientID+"/"+ev.MessageID] = !again
			mu.Unlock()
			if !again {
				return nil, functions.Postpone(e.takes, errTest)
			}
			return nil, errTest
		case panics:
			panic("boom")
		case exits:
			runtime.Goexit()
		case effects:
			return func(functions.Tx) (any, error) { return nil, errTest }, nil
		case superseded:
			g.skip(ev)
		case overtime:
			if ev.Type != "ahead" {
				time.Sleep(time.Hour)
			}
			return nil, errTest
		}
		return nil, nil
	}
	g = newRig(t, p.options, functions.New("plain", work), functions.New("slots", work, functions.MaxConcurrent(2)),
		functions.New("ahead", work, functions.Pure()))
	g.read = func(string) { time.Sleep(p.readTime) }

	n := 0
	want := map[string][]string{}
	events := func(list []planned) (evs []db.Event) {
		for _, e := range list {
			ev := event(e.client, fmt.Sprint(n), e.typ, e.bytes)
			n++
			mu.Lock()
			script[ev.ClientID+"/"+ev.MessageID] = e
			mu.Unlock()
			if i := slices.Index(e.first, superseded); i < 0 || slices.Contains(e.first[:i], rejects) {
				want[e.client] = append(want[e.client], ev.MessageID)
			}
			evs = append(evs, ev)
		}
		return evs
	}
	g.commit(events(p.stored)...)
	var backlog []db.Backlog
	for c, evs := range g.pending {
		backlog = append(backlog, db.Backlog{ClientID: c, Events: len(evs), HeadPosition: evs[0].Position})
	}
	g.cold()
	g.start(backlog, p.unclean)
	for i, list := range p.commits {
		time.Sleep(p.pauses[i])
		g.counted()
		g.commit(events(list)...)
	}
	time.Sleep(10000 * time.Hour)
	synctest.Wait()

	for c, list := range g.pending {
		if len(list) > 0 {
			t.Errorf("%s has %d events left", c, len(list))
		}
	}
	for _, c := range []string{"a", "b", "c", "d", "e"} {
		if got := g.fakeStore.ended(c); len(got)+len(want[c]) > 0 && !reflect.DeepEqual(got, want[c]) {
			t.Errorf("%s settled %v, want %v", c, got, want[c])
		}
	}
	if m.twice {
		t.Errorf("two events of one account ran at the same time")
	}
	if m.most > p.options.InFlight || slots.most > 2 {
		t.Errorf("%d accounts and %d slots were in use, want at most %d and 2", m.most, slots.most, p.options.InFlight)
	}
	g.books()
}

// collector takes a rig's complaints out of the bubble.
type collector struct {
	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

func (c *collector) Helper() {}
func (c *collector) Error(args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errors = append(c.errors, fmt.Sprintln(args...))
}
func (c *collector) Errorf(format string, args ...any) { c.Error(fmt.Sprintf(format, args...)) }
func (c *collector) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (c *collector) Cleanup(f func())                  { c.cleanups = append(c.cleanups, f) }
func (c *collector) Output() io.Writer                 { return io.Discard }

func (c *collector) end() {
	for _, f := range slices.Backward(c.cleanups) {
		f()
	}
}
