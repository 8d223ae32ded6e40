package dbtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/functions"
	"inturn/runner"
)

// fairnessCases are the cases of promise 7: no account starves another. They use the real
// runner.
var fairnessCases = []testCase{
	{"accounts that hang or fail hold nobody up", func(s *suite) {
		release := make(chan struct{})
		work := func(ctx context.Context, ev functions.Event, kind string) (functions.Effect, error) {
			switch kind {
			case "hangs":
				select {
				case <-release:
				case <-ctx.Done():
				}
				return nil, ctx.Err()
			case "fails":
				return nil, errors.New("planned")
			}
			return functions.Effect(note(ev.ClientID, ev.ClientID+" "+ev.MessageID)), nil
		}
		set, err := functions.NewSet(functions.New("note", work, functions.Tables(1, notesTable[0].SQL),
			functions.WithPolicy(functions.Policy{Attempts: 1000, InitialBackoff: time.Millisecond, MaxBackoff: time.Millisecond})))
		if err != nil {
			s.Fatal(err)
		}
		e := s.open(Options{Tables: set.Tables(), Check: set.Check})
		stop := s.runs(e, set)
		send := func(client string, n int, kind string) (last int64) {
			payload, err := json.Marshal(kind)
			if err != nil {
				s.Fatal(err)
			}
			for i := range n {
				ev := event(client, fmt.Sprint(i))
				ev.Payload = payload
				last = s.accept(e, ev).Seq
			}
			return last
		}
		for i := range 5 {
			send(fmt.Sprint("hangs", i), 50, "hangs")
			send(fmt.Sprint("fails", i), 50, "fails")
		}
		var ends []int64
		for i := range 20 {
			ends = append(ends, send(fmt.Sprint("quick", i), 10, "quick"))
		}
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		for i, seq := range ends {
			if r, err := e.Wait(ctx, seq, nil); err != nil || r.Status != db.Done {
				s.Fatalf("account %d: %+v, %v", i, r, err)
			}
		}
		rows, err := e.Query(s.Context(), "SELECT count(*) FROM notes")
		if err != nil || rows[0][0].(int64) != 200 {
			s.Errorf("%v effects, %v", rows, err)
		}
		close(release)
		stop()
		s.closed(e)
	}},
}

// runs runs the functions of set on e until stop is called.
func (s *suite) runs(e Engine, set *functions.Set) (stop func()) {
	r := runner.New(runner.Options{Store: e, Functions: set, Pollers: 2})
	r.Start(e.Backlog())
	e.OnChange(r.Changed)
	e.SetRunning(r.Running)
	e.OnAppend(r.Appended)
	var g run.Group
	r.AddTo(&g, patience)
	ending := make(chan struct{})
	g.Add(func() error { <-ending; return nil }, func(error) {})
	ended := make(chan error, 1)
	go func() { ended <- g.Run() }()
	return func() {
		close(ending)
		if err := <-ended; err != nil {
			s.Error(err)
		}
	}
}
