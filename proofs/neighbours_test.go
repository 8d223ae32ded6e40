package proofs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/db/sqlite"
	"inturn/functions"
	"inturn/runner"
)

// TestBadNeighbours prints what accounts that fail or hang cost the others: the same
// load with and without them, by turns in one run. It is for INTURN_LONG=1: figures of
// a busy machine mean nothing.
func TestBadNeighbours(t *testing.T) {
	if !long() {
		t.Skip("it measures, and takes minutes: set INTURN_LONG=1")
	}
	const accounts, failing, hanging = 100_000, 10_000, 1_000
	h := newHouse(t)
	healthy := func(round int) []db.Event {
		return h.events("healthy", fmt.Sprint(round), accounts-failing-hanging)
	}
	for i, kind := range []string{"fails", "hangs"} {
		h.append(h.events(kind, "bad", []int{failing, hanging}[i]))
	}
	h.act(db.Command{Verb: db.Pause, Type: "bad"})
	var with, without []time.Duration
	var with99, without99 []time.Duration
	for round := range 10 {
		// The bad ones fail, wait and hang in half of the rounds.
		verb := db.Pause
		if round%4 == 1 || round%4 == 2 {
			verb = db.Resume
		}
		h.act(db.Command{Verb: verb, Type: "bad"})
		time.Sleep(5 * time.Second)
		took, p99 := h.run(healthy(round))
		name := "without"
		if verb == db.Resume {
			with, with99, name = append(with, took), append(with99, p99), "with"
		} else {
			without, without99 = append(without, took), append(without99, p99)
		}
		t.Logf("%d healthy events %s %d failing and %d hanging accounts: %v, %.0f/s, p99 of a paced one %v", accounts-failing-hanging, name, failing, hanging,
			took.Round(time.Millisecond), float64(accounts-failing-hanging)/took.Seconds(), p99.Round(time.Microsecond))
	}
	t.Logf("throughput with bad accounts / without: %.3f (goal: 0.9 or more); p99: %.2f times (goal: 2 or less)",
		medianTime(without).Seconds()/medianTime(with).Seconds(), float64(medianTime(with99))/float64(medianTime(without99)))
}

// TestDeepNeighbour prints what a deep account costs shallow ones, likewise.
func TestDeepNeighbour(t *testing.T) {
	if !long() {
		t.Skip("it measures: set INTURN_LONG=1")
	}
	h := newHouse(t)
	for _, typ := range []string{"good", "ahead"} {
		deep := make([]db.Event, 100_000)
		for i := range deep {
			deep[i] = db.Event{ClientID: "deep-" + typ, MessageID: fmt.Sprint(i), Type: typ, Payload: []byte(`{}`)}
		}
		h.act(db.Command{Verb: db.Pause})
		h.append(deep)
		var alone, beside []time.Duration
		for round := range 200 {
			shallow := h.events(fmt.Sprint(typ, round, "-"), "0", 1000)
			for i := range shallow {
				shallow[i].Type = typ
			}
			// The deep account's events are always in the file; in half of the rounds they
			// run, in an order in which no checkpoint keeps step.
			verb, list := db.Pause, &alone
			if round%4 == 1 || round%4 == 2 {
				verb, list = db.Resume, &beside
			}
			h.act(db.Command{Verb: verb, ClientID: deep[0].ClientID})
			h.append(shallow)
			began := time.Now()
			h.act(db.Command{Verb: db.Resume})
			h.wait(shallow)
			*list = append(*list, time.Since(began))
			h.act(db.Command{Verb: db.Pause})
		}
		left, err := h.store.Account(context.Background(), deep[0].ClientID)
		if err != nil {
			t.Fatal(err)
		}
		h.act(db.Command{Verb: db.Pause, ClientID: deep[0].ClientID})
		h.act(db.Command{Verb: db.Resume})
		t.Logf("1000 accounts with one event of type %s: %v alone, %v beside one with 100,000, of which %d ran: %.2f times (medians of %d)",
			typ, medianTime(alone), medianTime(beside), len(deep)-left.Pending, medianTime(beside).Seconds()/medianTime(alone).Seconds(), len(alone))
	}
}

func medianTime(list []time.Duration) time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}

// house is an engine on a file, without HTTPS.
type house struct {
	t     *testing.T
	store *sqlite.DB
	mu    sync.Mutex
	last  map[string]int64 // seq of an account's last event
}

func newHouse(t *testing.T) *house {
	release := make(chan struct{})
	set, err := functions.NewSet(
		functions.New("good", func(context.Context, functions.Event, struct{}) (functions.Effect, error) { return nil, nil }),
		functions.New("bad", func(ctx context.Context, ev functions.Event, _ struct{}) (functions.Effect, error) {
			if strings.HasPrefix(ev.ClientID, "hangs") {
				<-release // whatever its context says
			}
			return nil, errors.New("it fails for ever")
		}, functions.WithPolicy(functions.Policy{Attempts: 1_000_000})),
		functions.New("ahead", func(context.Context, functions.Event, struct{}) (functions.Effect, error) { return nil, nil }, functions.Pure()))
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "inturn.db")})
	if err != nil {
		t.Fatal(err)
	}
	r := runner.New(runner.Options{Store: store, Functions: set})
	r.Start(store.Backlog())
	store.OnChange(r.Changed)
	store.OnAppend(r.Appended)
	var g run.Group
	r.AddTo(&g, time.Minute)
	stop, ended := make(chan struct{}), make(chan error, 1)
	g.Add(func() error { <-stop; return nil }, func(error) {})
	go func() { ended <- g.Run() }()
	t.Cleanup(func() {
		close(release)
		close(stop)
		if err := errors.Join(<-ended, store.Close()); err != nil {
			t.Error(err)
		}
	})
	return &house{t: t, store: store, last: map[string]int64{}}
}

func (h *house) events(client, id string, n int) []db.Event {
	typ := "good"
	if client == "fails" || client == "hangs" {
		typ = "bad"
	}
	evs := make([]db.Event, n)
	for i := range evs {
		evs[i] = db.Event{ClientID: fmt.Sprint(client, i), MessageID: id, Type: typ, Payload: []byte(`{}`)}
	}
	return evs
}

func (h *house) act(a db.Command) {
	h.t.Helper()
	if _, err := h.store.Execute(context.Background(), a); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) append(evs []db.Event) {
	for part := range slices.Chunk(evs, 1000) {
		answers, err := h.store.AppendBatch(context.Background(), db.Batch{Events: part})
		for errors.Is(err, db.ErrOverloaded) { // as a sender does
			answers, err = h.store.AppendBatch(context.Background(), db.Batch{Events: part})
		}
		if err != nil {
			h.t.Fatal(err)
		}
		h.mu.Lock()
		for _, a := range answers {
			h.last[a.Receipt.ClientID] = a.Receipt.Seq
		}
		h.mu.Unlock()
	}
}

func (h *house) wait(evs []db.Event) {
	for _, ev := range evs {
		if _, err := h.store.Wait(context.Background(), h.last[ev.ClientID], nil); err != nil {
			h.t.Fatal(err)
		}
	}
}

// run appends evs as fast as it goes and returns when all are settled, how long that
// took, and the 99th percentile from append to settle of 2000 paced ones among them.
func (h *house) run(evs []db.Event) (took, p99 time.Duration) {
	began := time.Now()
	h.append(evs)
	h.wait(evs)
	took = time.Since(began)
	lags := make([]time.Duration, 2000)
	var wg sync.WaitGroup
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for i := range lags {
		<-pace.C
		wg.Go(func() {
			ev := db.Event{ClientID: evs[i].ClientID, MessageID: fmt.Sprint("paced", evs[i].MessageID), Type: "good", Payload: []byte(`{}`)}
			sent := time.Now()
			r, err := h.store.Append(context.Background(), ev)
			if err == nil {
				_, err = h.store.Wait(context.Background(), r.Seq, nil)
			}
			if err != nil {
				h.t.Error(err)
			}
			lags[i] = time.Since(sent)
		})
	}
	wg.Wait()
	slices.Sort(lags)
	return took, lags[len(lags)*99/100]
}
