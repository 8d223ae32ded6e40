package functionstest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"inturn/db"
	"inturn/functions"
	"inturn/functions/functionstest"
)

func TestAct(t *testing.T) {
	var mended atomic.Bool
	f := functions.New("fragile", func(_ context.Context, ev functions.Event, _ struct{}) (functions.Effect, error) {
		if !mended.Load() {
			return nil, errors.New("broken")
		}
		return func(functions.Tx) (any, error) { return ev.Run, nil }, nil
	}, functions.WithPolicy(functions.Policy{Attempts: 1}))
	e := functionstest.New(t, f)
	first := e.Send(functions.Event{ClientID: "a", MessageID: "1", Type: "fragile", Payload: []byte(`{}`)})
	second := e.Send(functions.Event{ClientID: "a", MessageID: "2", Type: "fragile", Payload: []byte(`{}`)})
	if parked := e.Parked("a"); parked.HeadSeq != first.Seq || parked.LastError != "broken" {
		t.Errorf("parked: %+v", parked)
	}
	e.Execute(db.Command{Verb: db.Skip, ClientID: "a", Seq: first.Seq, Who: "test"})
	e.Parked("a")
	mended.Store(true)
	e.Execute(db.Command{Verb: db.Retry, ClientID: "a", Seq: second.Seq})
	e.Wait(second)
	e.Execute(db.Command{Verb: db.Redrive, Seq: first.Seq})
	e.Wait(first)
	e.Execute(db.Command{Verb: db.Pause})
	if got := e.Execute(db.Command{Verb: db.Replay, ClientID: "a"}); got.Events != 2 {
		t.Errorf("replay: %+v", got)
	}
	e.Execute(db.Command{Verb: db.Resume})
	e.Do(functions.Event{ClientID: "a", MessageID: "3", Type: "fragile", Payload: []byte(`{}`)}) // behind the replay
	for id, run := range map[string]string{"1": "3", "2": "2", "3": "1"} {
		if s := e.Find("a", id); s.State != db.Done || string(s.Result.Output) != run {
			t.Errorf("%s: %+v, want it done in run %s", id, s, run)
		}
	}
}
