package schedules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
	"inturn/internal/program"
)

// fakeStore keeps identities, as the storage does. It is also the observer.
type fakeStore struct {
	mu      sync.Mutex
	events  map[string]db.Event // by message_id
	order   []string
	refuse  error          // what Append and Find answer
	room    int            // events that Append takes before it refuses
	results map[string]int // as they were observed
}

func newFakeStore() *fakeStore {
	return &fakeStore{events: map[string]db.Event{}, room: math.MaxInt, results: map[string]int{}}
}

func (s *fakeStore) Append(ctx context.Context, ev db.Event) (db.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return db.Receipt{}, s.refuse
	}
	if was, ok := s.events[ev.MessageID]; ok {
		if string(was.Payload) != string(ev.Payload) {
			return db.Receipt{}, &db.IDReusedError{Seq: 1}
		}
		return db.Receipt{Duplicate: true}, nil
	}
	if s.room--; s.room < 0 {
		return db.Receipt{}, db.ErrBacklogFull
	}
	s.events[ev.MessageID] = ev
	s.order = append(s.order, ev.MessageID)
	return db.Receipt{}, nil
}

func (s *fakeStore) Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return db.StoredEvent{}, s.refuse
	}
	if ev, ok := s.events[messageID]; ok && ev.ClientID == clientID {
		return db.StoredEvent{Event: ev}, nil
	}
	return db.StoredEvent{}, db.ErrNotFound
}

func (s *fakeStore) Ticks(result string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[result] += n
}

func (s *fakeStore) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// count returns how many ticks had a result.
func (s *fakeStore) count(result string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.results[result]
}

// payload returns that of an event.
func (s *fakeStore) payload(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.events[id].Payload)
}

func (s *fakeStore) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// process is an actor that runs; stop ends it.
func (s *fakeStore) process(now func() time.Time, all ...Schedule) (a *Actor, stop func()) {
	a = New(Options{Store: s, Log: slog.New(slog.DiscardHandler), Observer: s, Now: now})
	a.Set(all)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()
	return a, func() { cancel(); <-ended }
}

// simulated is how long TestAYear is. The race detector, which sees all that it will within
// weeks, makes a year take minutes.
func simulated() time.Duration {
	if program.Raced {
		return 60 * 24 * time.Hour
	}
	return 365 * 24 * time.Hour
}

// A year of schedules in three time zones, with the changes of their clocks. Two processes
// start and stop at random, at times neither runs, and the clock jumps ahead and back: of
// each tick there is one event.
func TestAYear(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulateYear(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func simulateYear(t *testing.T, random *rand.Rand) {
	all := []Schedule{
		{Name: "berlin", Times: mustParse(t, "30 2 * * *", "Europe/Berlin")},
		{Name: "york", Times: mustParse(t, "15 1,2 * * *", "America/New_York")},
		{Name: "hourly", Times: mustParse(t, "30 * * * *", "Australia/Lord_Howe")},
		{Name: "weekly", Times: mustParse(t, "0 0 * * 1", "Europe/Berlin")},
		{Name: "every", Times: mustParse(t, "@every 7h", "")},
	}
	for i := range all {
		all[i].Missed, all[i].ClientID, all[i].Type, all[i].Payload = All, "c", "t", []byte(`{}`)
	}
	var offset atomic.Int64 // of the wall clock, which both processes read
	wall := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	store, begin := newFakeStore(), time.Now()
	stops := make([]func(), 2)
	start := func(i int) { _, stops[i] = store.process(wall, all...) }
	start(0)
	start(1)
	time.Sleep(8 * 24 * time.Hour) // until each has ticked once
	restarts, dark := 0, 0
	for time.Since(begin) < simulated() {
		i := random.IntN(2)
		if stops[i] != nil {
			stops[i]()
			stops[i] = nil
		} else {
			start(i)
			restarts++
		}
		if stops[0] == nil && stops[1] == nil {
			dark++
		}
		if random.IntN(10) == 0 { // up to two days ahead or back
			offset.Store(int64(time.Duration(random.IntN(97)-48) * time.Hour))
		}
		time.Sleep(time.Duration(random.ExpFloat64() * float64(24*time.Hour)))
	}
	offset.Store(0)
	time.Sleep(3 * 24 * time.Hour) // what was made early is past now
	for i := range stops {
		if stops[i] == nil {
			start(i)
		}
	}
	time.Sleep(lookEvery + time.Second)
	end := time.Now()
	for i := range stops {
		stops[i]()
	}
	want := map[string]bool{}
	for _, s := range all {
		for tick := s.Times.Next(begin); !tick.After(end); tick = s.Times.Next(tick) {
			want[s.MessageID(tick)] = true
		}
	}
	got := store.made()
	seen := map[string]bool{}
	for _, id := range got {
		if seen[id] {
			t.Errorf("%s was made twice", id)
		}
		seen[id] = true
		if !want[id] {
			t.Errorf("%s is no tick", id)
		}
	}
	for id := range want {
		if !seen[id] {
			t.Errorf("%s was not made", id)
		}
	}
	t.Logf("%d ticks, %d starts, %d times nothing ran: %v", len(want), restarts, dark, store.results)
	if days := int(simulated().Hours() / 24); restarts < days/4 || dark < days/20 || store.count("duplicate") == 0 {
		t.Error("the simulation does not simulate")
	}
}

func minutely(t testing.TB, missed Missed) Schedule {
	return Schedule{Name: "n", Times: mustParse(t, "* * * * *", ""), Missed: missed, ClientID: "c", Type: "t", Payload: []byte(`{}`)}
}

// What was missed during a stop of five and a half minutes is made up as configured.
func TestAStop(t *testing.T) {
	for missed, want := range map[Missed]int{None: 0, Last: 1, All: 5} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore()
			_, stop := store.process(nil, minutely(t, missed))
			time.Sleep(61 * time.Second)
			stop()
			before := len(store.made())
			time.Sleep(5*time.Minute + 10*time.Second)
			_, stop = store.process(nil, minutely(t, missed))
			synctest.Wait()
			if got := len(store.made()) - before; before != 1 || got != want {
				t.Errorf("%s: %d made before, %d made up, want 1 and %d", missed, before, got, want)
			}
			time.Sleep(time.Minute)
			stop()
			if got := len(store.made()) - before; got != want+1 {
				t.Errorf("%s: %d with the next one, want %d", missed, got, want+1)
			}
		})
	}
}

// A schedule that is new has missed nothing; nor has one that a reload changes.
func TestANewScheduleBeginsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		a, stop := store.process(nil, minutely(t, All))
		defer stop()
		time.Sleep(30 * time.Second)
		if got := store.made(); len(got) != 0 {
			t.Fatalf("%q at the start", got)
		}
		time.Sleep(60 * time.Second)
		other, changed := minutely(t, All), minutely(t, All)
		other.Name, other.Times = "hourly", mustParse(t, "0 * * * *", "")
		changed.Payload = []byte(`{"v":2}`)
		a.Set([]Schedule{other, changed})
		synctest.Wait()
		if got := store.made(); len(got) != 1 {
			t.Errorf("%q after a reload, want the one tick", got)
		}
		time.Sleep(time.Minute)
		if got := store.made(); len(got) != 2 || store.payload(got[1]) != `{"v":2}` {
			t.Errorf("%q: want the next tick, with the new payload", got)
		}
		a.Set(nil)
		time.Sleep(10 * time.Minute)
		if got := store.made(); len(got) != 2 || !a.Next().IsZero() {
			t.Errorf("%q after all were removed", got)
		}
	})
}

// What retention has deleted counts as never made: it is not made again, and what was
// missed since is not made up.
func TestATickThatWasDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		_, stop := store.process(nil, minutely(t, All))
		time.Sleep(5 * time.Minute)
		stop()
		made := len(store.made())
		store.mu.Lock()
		clear(store.events)
		store.mu.Unlock()
		time.Sleep(5 * time.Minute)
		_, stop = store.process(nil, minutely(t, All))
		time.Sleep(30 * time.Second)
		if got := len(store.made()); got != made {
			t.Errorf("%d ticks were made again or made up", got-made)
		}
		time.Sleep(time.Minute)
		stop()
		if got := len(store.made()); got != made+1 {
			t.Errorf("it made %d ticks in a minute", got-made)
		}
	})
}

// A storage that refuses for a while loses no tick and gets none twice.
func TestStorageThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.set(db.ErrUnavailable)
		_, stop := store.process(nil, minutely(t, All))
		defer stop()
		time.Sleep(10 * time.Second)
		store.set(nil) // it knows now that nothing was made
		time.Sleep(2 * time.Second)
		store.set(errors.New("disk full"))
		time.Sleep(3 * time.Minute)
		if n := store.count("failed"); n < 100 || len(store.made()) != 0 {
			t.Errorf("%d have failed, made are %q", n, store.made())
		}
		store.set(nil)
		time.Sleep(2 * time.Second)
		if got := store.made(); len(got) != 3 || !slices.IsSorted(got) {
			t.Errorf("%q, want three in order", got)
		}
		store.set(errors.New("disk full"))
		time.Sleep(5 * time.Minute)
		store.mu.Lock()
		store.refuse, store.room = nil, 2
		store.mu.Unlock()
		time.Sleep(2 * time.Second)
		store.mu.Lock()
		store.room = math.MaxInt
		store.mu.Unlock()
		time.Sleep(2 * time.Second)
		if got := store.made(); len(got) != 8 || !slices.IsSorted(got) {
			t.Errorf("%q, want five more in order", got)
		}
	})
}

// The clock is 10 days ahead for a while: it ticks again as soon as it is right again, and
// what it ticked early it does not tick twice.
func TestAClockThatWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		var offset atomic.Int64
		wall := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		s := minutely(t, None)
		s.Times = mustParse(t, "0 * * * *", "")
		_, stop := store.process(wall, s)
		defer stop()
		time.Sleep(90 * time.Minute)
		offset.Store(int64(10*24*time.Hour + 15*time.Minute))
		time.Sleep(60 * time.Minute) // one early tick
		offset.Store(0)
		time.Sleep(24 * time.Hour)
		// 1 before, 1 early, then 24 until 26:30.
		if got := store.made(); len(got) != 26 {
			t.Errorf("%d ticks, want 26: %q", len(got), got)
		}
	})
}

// What a tick made under another payload stays.
func TestATickThatWasMadeDifferently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		one, two := minutely(t, All), minutely(t, All)
		two.Payload = []byte(`{"v":2}`)
		_, stop1 := store.process(nil, one)
		_, stop2 := store.process(nil, two)
		time.Sleep(61 * time.Second)
		stop1()
		stop2()
		if store.count("made") != 1 || store.count("duplicate") != 1 || store.count("failed") != 0 {
			t.Errorf("%v", store.results)
		}
	})
}

func TestNextTick(t *testing.T) {
	a := New(Options{Now: func() time.Time { return at("10:00:30") }})
	hourly := minutely(t, All)
	hourly.Times = mustParse(t, "0 * * * *", "")
	a.Set([]Schedule{hourly, minutely(t, All)})
	if got := a.Next(); !got.Equal(at("10:01:00")) {
		t.Errorf("%v", got)
	}
}
