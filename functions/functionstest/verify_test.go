package functionstest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"inturn/db"
	"inturn/functions"
)

// recorder is a test that only writes down how it failed.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Helper()        {}
func (r *recorder) Cleanup(func()) {}

func (r *recorder) told(t *testing.T, want string) {
	t.Helper()
	if len(r.failures) != 1 || !strings.Contains(r.failures[0], want) {
		t.Errorf("the test failed with %q, want one failure about %q", r.failures, want)
	}
}

type none struct{}

func TestALeakedGoroutineFailsTheTest(t *testing.T) {
	free, left := make(chan struct{}), make(chan struct{})
	leaks := functions.New("leaks", func(context.Context, functions.Event, none) (functions.Effect, error) {
		go func() { <-free; close(left) }()
		return nil, nil
	})
	r := &recorder{TB: t}
	e := New(r, leaks)
	e.Do(functions.Event{ClientID: "a", MessageID: "1", Type: "leaks", Payload: []byte(`{}`)})
	e.Close()
	close(free)
	<-left
	r.told(t, "TestALeakedGoroutineFailsTheTest.func1")
}

func TestABrokenInvariantFailsTheTest(t *testing.T) {
	wrong := functions.New("wrong", func(context.Context, functions.Event, none) (functions.Effect, error) { return nil, nil },
		functions.Invariant("always-wrong", `SELECT 'it is ' || 'wrong'`))
	r := &recorder{TB: t}
	New(r, wrong).Close()
	r.told(t, "always-wrong: it is wrong")
}

func TestAnEndThatIsNotInOrderFailsTheTest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lost.db")
	r := &recorder{TB: t}
	e := Open(r, path, functions.New("any", func(context.Context, functions.Event, none) (functions.Effect, error) { return nil, nil }))
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), `UPDATE owner SET epoch = epoch + 1`); err != nil {
		t.Fatal(err)
	}
	_, err = e.Append(t.Context(), functions.Event{ClientID: "a", MessageID: "1", Type: "any", Payload: []byte(`{}`)})
	if !errors.Is(err, db.ErrFenced) {
		t.Errorf("append to a file that was taken over: %v", err)
	}
	e.Close()
	r.told(t, db.ErrFenced.Error())
}
