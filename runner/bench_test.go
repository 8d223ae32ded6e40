package runner_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/db/sqlite"
	"inturn/functions"
	"inturn/runner"
)

// nothing is a Pure function that writes nothing: what is left is the engine's.
var nothing = functions.New("nothing", func(context.Context, functions.Event, any) (functions.Effect, error) {
	return nil, nil
}, functions.Pure())

// running lets r take turns until stop is called.
func running(b *testing.B, r *runner.Runner) (stop func()) {
	var g run.Group
	r.AddTo(&g, time.Minute)
	quit := make(chan struct{})
	g.Add(func() error { <-quit; return nil }, func(error) {})
	ended := make(chan error, 1)
	go func() { ended <- g.Run() }()
	return func() {
		close(quit)
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkDrain works off b.N events that were pending when the file was opened.
func BenchmarkDrain(b *testing.B) {
	for _, accounts := range []int{1000, 1} {
		b.Run(fmt.Sprint("accounts=", accounts), func(b *testing.B) { drain(b, accounts) })
	}
}

func drain(b *testing.B, accounts int) {
	o := sqlite.Options{Path: filepath.Join(b.TempDir(), "inturn.db")}
	last := backlog(b, o, accounts)
	set, err := functions.NewSet(nothing)
	if err != nil {
		b.Fatal(err)
	}
	store, err := sqlite.Open(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	r := runner.New(runner.Options{Store: store, Functions: set})
	b.ResetTimer()
	r.Start(store.Backlog())
	store.OnChange(r.Changed)
	store.OnAppend(r.Appended)
	stop := running(b, r)
	for _, seq := range last {
		if _, err := store.Wait(context.Background(), seq, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	stop()
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// backlog makes a file with b.N pending events whose accounts take turns, and returns
// the last one of each account.
func backlog(b *testing.B, o sqlite.Options, accounts int) (last map[int]int64) {
	store, err := sqlite.Open(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	last = map[int]int64{}
	for i := 0; i < b.N; {
		events := make([]db.Event, min(1000, b.N-i))
		for k := range events {
			events[k] = db.Event{
				ClientID: fmt.Sprintf("client00000000000000000000%d", 100000+(i+k)%accounts), MessageID: fmt.Sprintf("1700000000-%d-0", 100_000_000+i+k),
				Type: nothing.Name(), RequestID: "2RP4J7HSNYOTY2C6XIQKG2ZBCW",
				Payload: fmt.Appendf(nil, `{"phone":"+7000000%04d","text":"hello there, this is message number %d"}`, (i+k)%accounts, i+k),
			}
		}
		answers, err := store.AppendBatch(context.Background(), db.Batch{Events: events})
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range answers {
			last[i%accounts] = a.Receipt.Seq
			i++
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	return last
}

// instant settles at once and has nothing in a file.
type instant struct {
	b       *testing.B
	settled atomic.Int64
	until   int64
	all     chan struct{}
}

func (s *instant) Settle(items []db.Settlement) (int, error) {
	if s.settled.Add(int64(len(items))) == s.until {
		close(s.all)
	}
	return len(items), nil
}

func (s *instant) Hold(db.Hold) error { return nil }

func (s *instant) ExpandReplay(string) (bool, error) { return false, nil }

func (s *instant) PendingAfter(context.Context, string, int64, int, int) ([]db.Event, bool, error) {
	s.b.Error("a lane went cold: the benchmark offers more than memory holds")
	return nil, false, nil
}

// BenchmarkHandOver is an event's way from the commit to its function and to the
// operation that settles it, in groups of 64 over 1,000 accounts.
func BenchmarkHandOver(b *testing.B) {
	const group, accounts, ahead = 64, 1000, 1 << 14
	set, err := functions.NewSet(nothing)
	if err != nil {
		b.Fatal(err)
	}
	s := &instant{b: b, until: int64(b.N), all: make(chan struct{})}
	r := runner.New(runner.Options{Store: s, Functions: set})
	r.Start(nil, nil, false)
	stop := running(b, r)
	var clients [accounts]string
	for i := range clients {
		clients[i] = fmt.Sprintf("client%026d", i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; {
		events := make([]db.Event, min(group, b.N-i))
		for k := range events {
			i++
			events[k] = db.Event{ClientID: clients[i%accounts], MessageID: "m", Type: nothing.Name(), Payload: []byte(`{}`), Seq: int64(i), Position: int64(i), Run: 1}
		}
		r.Appended(events)
		for int64(i)-s.settled.Load() > ahead {
			time.Sleep(100 * time.Microsecond)
		}
	}
	<-s.all
	b.StopTimer()
	stop()
}
