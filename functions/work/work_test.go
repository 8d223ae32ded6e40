package work

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"inturn/functions"
)

func event(payload string) functions.Event {
	return functions.Event{ClientID: "c", MessageID: "m", Type: "work", Payload: []byte(payload)}
}

func TestTakesAsLongAsThePayloadSays(t *testing.T) {
	for payload, want := range map[string]time.Duration{
		`{}`:                      time.Second,
		`{"ms":null}`:             time.Second,
		`{"ms":0}`:                0,
		`{"ms":250,"n":7,"x":{}}`: 250 * time.Millisecond,
		`{"ms":60000}`:            time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			effect, err := Function.Work(t.Context(), event(payload))
			if effect != nil || err != nil {
				t.Errorf("%s: effect %t, %v; want done and nothing to write", payload, effect != nil, err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("%s took %v, want %v", payload, took, want)
			}
		})
	}
}

func TestRefusesAtTheDoor(t *testing.T) {
	set, err := functions.NewSet(Function)
	if err != nil {
		t.Fatal(err)
	}
	for payload, pointer := range map[string]string{
		`{"ms":0}`:      "",
		`{"other":"x"}`: "",
		`{"ms":-1}`:     "/payload/ms",
		`{"ms":60001}`:  "/payload/ms",
		`{"ms":1.5}`:    "/payload/ms",
		`{"ms":"1000"}`: "/payload/ms",
		`{"ms":1e30}`:   "/payload/ms",
		`7`:             "/payload",
	} {
		_, err := set.Check(event(payload))
		fe, ok := errors.AsType[*functions.FieldError](err)
		if pointer == "" && err != nil || pointer != "" && (!ok || fe.Pointer != pointer) {
			t.Errorf("%s: %v, want %q", payload, err, pointer)
		}
	}
}

func TestReturnsTheCauseWhenCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("draining")
		time.AfterFunc(time.Second, func() { cancel(why) })
		began := time.Now()
		_, err := Function.Work(ctx, event(`{"ms":60000}`))
		if !errors.Is(err, why) {
			t.Errorf("returned %v, want %v", err, why)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("returned after %v", took)
		}
	})
}

func TestIsNotAhead(t *testing.T) {
	if Function.Pure() {
		t.Error("work of an account would overlap")
	}
}
