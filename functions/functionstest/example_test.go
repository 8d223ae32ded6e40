package functionstest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"inturn/db"
	"inturn/functions"
	"inturn/functions/functionstest"
)

// tb stands for the *testing.T of a test, which an example doesn't have.
type tb struct {
	testing.TB
	cleanups []func()
}

func (t *tb) Helper()                      {}
func (t *tb) Name() string                 { return "Example" }
func (t *tb) Context() context.Context     { return context.Background() }
func (t *tb) Output() io.Writer            { return io.Discard }
func (t *tb) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }
func (t *tb) Errorf(f string, args ...any) { fmt.Printf(f+"\n", args...) }
func (t *tb) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (t *tb) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (t *tb) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (t *tb) end() {
	for len(t.cleanups) > 0 {
		last := t.cleanups[len(t.cleanups)-1]
		t.cleanups = t.cleanups[:len(t.cleanups)-1]
		last()
	}
}

// Words is a payload.
type Words struct {
	Text string `json:"text"`
}

var remember = functions.New("remember", func(_ context.Context, ev functions.Event, n Words) (functions.Effect, error) {
	return func(tx functions.Tx) (any, error) {
		_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (client_id, text) VALUES (?, ?)", ev.ClientID, n.Text)
		return map[string]int{"length": len(n.Text)}, err
	}, nil
}, functions.Tables(1, "CREATE TABLE notes (client_id TEXT NOT NULL, text TEXT NOT NULL) STRICT"))

// A test sends events and looks at their results and at the function's rows.
func Example() {
	t := &tb{} // in a test: its *testing.T
	defer t.end()

	e := functionstest.New(t, remember)
	got := e.Do(functions.Event{ClientID: "anna", MessageID: "1", Type: "remember", Payload: []byte(`{"text":"tea"}`)})
	fmt.Println(got.State, string(got.Result.Output))
	fmt.Println(e.Query("SELECT client_id, text FROM notes"))
	// Output:
	// done {"length":3}
	// [[anna tea]]
}

// What an effect emits is accepted if and only if its own event is settled.
func Example_emit() {
	t := &tb{}
	defer t.end()

	twice := functions.New("twice", func(_ context.Context, ev functions.Event, n Words) (functions.Effect, error) {
		return func(tx functions.Tx) (any, error) {
			return nil, tx.Emit(functions.Event{ClientID: ev.ClientID, MessageID: "again-" + ev.MessageID, Type: "remember", Payload: ev.Payload})
		}, nil
	})
	e := functionstest.New(t, remember, twice)
	e.Do(functions.Event{ClientID: "anna", MessageID: "1", Type: "twice", Payload: []byte(`{"text":"tea"}`)})
	again := e.Find("anna", "again-1")
	e.Wait(db.Receipt{ClientID: again.ClientID, MessageID: again.MessageID, Seq: again.Seq})
	fmt.Println(e.Query("SELECT client_id, text FROM notes"))
	// Output: [[anna tea]]
}

// An account whose event has used up its attempts waits for a person.
func ExampleEngine_Parked() {
	t := &tb{}
	defer t.end()

	mended := false
	f := functions.New("f", func(context.Context, functions.Event, struct{}) (functions.Effect, error) {
		if !mended {
			return nil, errors.New("it is broken")
		}
		return nil, nil
	}, functions.WithPolicy(functions.Policy{Attempts: 1}))
	e := functionstest.New(t, f)
	r := e.Send(functions.Event{ClientID: "anna", MessageID: "1", Type: "f", Payload: []byte(`{}`)})
	parked := e.Parked("anna")
	fmt.Println(parked.LastError, parked.HeadSeq == r.Seq)

	mended = true
	e.Execute(db.Command{Verb: db.Retry, ClientID: "anna", Seq: r.Seq, Reason: "mended"})
	e.Wait(r)
	fmt.Println(e.Find("anna", "1").State)
	// Output:
	// it is broken true
	// done
}

// A restart finds what was pending.
func ExampleOpen() {
	t := &tb{}
	defer t.end()

	path := t.TempDir() + "/inturn.db"
	e := functionstest.Open(t, path, remember)
	e.Do(functions.Event{ClientID: "anna", MessageID: "1", Type: "remember", Payload: []byte(`{"text":"tea"}`)})
	e.Close()

	e = functionstest.Open(t, path, remember)
	r := e.Send(functions.Event{ClientID: "anna", MessageID: "1", Type: "remember", Payload: []byte(`{"text":"tea"}`)})
	fmt.Println(r.Duplicate, r.State, string(r.Result.Output))
	// Output: true done {"length":3}
}
