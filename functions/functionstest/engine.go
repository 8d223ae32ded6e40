// Package functionstest runs functions in tests on the whole engine: the events go
// through the same door, the same committer and the same runner as in the server.
// Only HTTPS is left out.
//
// An engine stops with its test. The test fails if the engine could not stop in
// order, if a goroutine of it or of a function is left over, or if something that
// `inturn check` asks for does not hold in the end.
package functionstest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"inturn/db"
	"inturn/functions"
	"inturn/runner"

	"github.com/oklog/run"
)

// patience bounds a wait for what should happen at once, so that a test that hangs
// says where. It measures nothing.
const patience = 30 * time.Second

// Engine is a running engine. Its methods may be called from any goroutine, but
// those that fail the test (all but Append and Request) only from the test's own.
type Engine struct {
	t     testing.TB
	set   *functions.Set
	label string // of every goroutine of this engine

	database Database
	db       Storage

	stop  chan struct{}
	ended chan error
	once  sync.Once // of Close
}

// New runs the engine with fns on SQLite: in memory, or, if INTURN_TEST_FILE=1 is set, on
// a file in a temporary folder. The same suite can so run on both.
func New(t testing.TB, fns ...functions.Function) *Engine {
	t.Helper()
	path := memory
	if os.Getenv("INTURN_TEST_FILE") == "1" {
		path = filepath.Join(t.TempDir(), "inturn.db")
	}
	return Open(t, path, fns...)
}

// Open is New on the file of SQLite at path, or on ":memory:". To test a restart, or the
// next version of a function's tables, Close the engine and Open another on its file.
func Open(t testing.TB, path string, fns ...functions.Function) *Engine {
	t.Helper()
	return OpenOn(t, onSQLite(path), fns...)
}

// OpenOn is New on a database of any storage engine. Close checks the database once it has
// closed it, with its Check.
func OpenOn(t testing.TB, d Database, fns ...functions.Function) *Engine {
	t.Helper()
	set, err := functions.NewSet(fns...)
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{t: t, set: set, database: d, label: newLabel(t), stop: make(chan struct{}), ended: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))

	started := make(chan error)
	go e.labelled(func() {
		var err error
		e.db, err = d.Open(context.Background(), set, log)
		if err != nil {
			started <- err
			return
		}
		r := runner.New(runner.Options{Store: e.db, Functions: set, Log: log})
		r.Start(e.db.Backlog())
		e.db.OnChange(r.Changed)
		e.db.SetRunning(r.Running)
		e.db.OnAppend(r.Appended)
		started <- nil // only now: what is appended earlier, the runner would not hear of
		e.ended <- e.run(r)
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// run runs the runner until it is stopped, and then closes the database, which must
// outlive all that write to it, as in serve.
func (e *Engine) run(r *runner.Runner) error {
	var g run.Group
	r.AddTo(&g, patience)
	others, cancel := context.WithCancel(context.Background()) // an actor ended by itself
	g.Add(func() error {
		select {
		case <-e.stop:
		case <-others.Done():
		case <-e.db.Failed():
			return e.db.Err()
		}
		return nil
	}, func(error) { cancel() })
	err := g.Run()
	if closed := e.db.Close(); err == nil {
		err = closed
	}
	return err
}

// Close stops the engine before its test ends: what is inside a function is
// finished and recorded, what is pending stays in the file. Calling it again does
// nothing.
func (e *Engine) Close() {
	e.t.Helper()
	e.once.Do(func() {
		e.t.Helper()
		e.checkInvariants()
		close(e.stop)
		select {
		case err := <-e.ended:
			if err != nil {
				e.t.Errorf("functionstest: the engine ended with: %v", err)
			}
		case <-time.After(patience):
			e.t.Errorf("functionstest: the engine did not stop in %v", patience)
			return
		}
		e.checkDatabase()
		e.checkGoroutines()
	})
}

// Append takes an event as the API does: it is checked, its payload compacted, and
// it is durable when Append returns. The errors are those of functions.Set.Check
// and of a storage's Append: see package db.
func (e *Engine) Append(ctx context.Context, ev functions.Event) (db.Receipt, error) {
	if len(ev.Payload) > 0 {
		payload, err := functions.CompactJSON(ev.Payload)
		if err != nil {
			return db.Receipt{}, &functions.FieldError{Pointer: "/payload", Detail: err.Error()}
		}
		ev.Payload = payload
	}
	ev, err := e.set.Check(ev)
	if err != nil {
		return db.Receipt{}, err
	}
	return e.db.Append(ctx, ev)
}

// Request answers r as the HTTP function would whose pattern it matches, and
// appends the event. The errors are the function's own and Append's.
func (e *Engine) Request(r *http.Request) (receipt db.Receipt, err error) {
	err = fmt.Errorf("no HTTP function matches %s %s", r.Method, r.URL.Path)
	var mux http.ServeMux
	for _, f := range e.set.All() {
		pattern, fn := f.HTTP()
		if fn == nil {
			continue
		}
		mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
			var ev functions.Event
			if ev, err = fn(r); err == nil {
				receipt, err = e.Append(r.Context(), ev)
			}
		})
	}
	mux.ServeHTTP(discard{}, r)
	return receipt, err
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// Send appends an event and returns its receipt. It does not wait for the function.
func (e *Engine) Send(ev functions.Event) db.Receipt {
	e.t.Helper()
	r, err := e.Append(e.t.Context(), ev)
	if err != nil {
		e.t.Fatalf("functionstest: send %s %s: %v", ev.ClientID, ev.MessageID, err)
	}
	return r
}

// Do sends an event and returns it once it is settled, done or dead.
func (e *Engine) Do(ev functions.Event) db.StoredEvent {
	e.t.Helper()
	e.Wait(e.Send(ev))
	return e.Find(ev.ClientID, ev.MessageID)
}

// Wait returns once the event of a receipt is settled.
func (e *Engine) Wait(r db.Receipt) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	if _, err := e.db.Wait(ctx, r.Seq, nil); err != nil {
		e.t.Fatalf("functionstest: wait for %s %s to be settled: %v; its account's attempts and last error: %v",
			r.ClientID, r.MessageID, err, e.Query(`SELECT attempts, last_error FROM accounts WHERE client_id = ?`, r.ClientID))
	}
}

// Find returns an event as it is in the file.
func (e *Engine) Find(clientID, messageID string) db.StoredEvent {
	e.t.Helper()
	s, err := e.db.Find(e.t.Context(), clientID, messageID)
	if err != nil {
		e.t.Fatalf("functionstest: find %s %s: %v", clientID, messageID, err)
	}
	return s
}

// Erase deletes everything of a client, as an operator does, and returns what it was.
func (e *Engine) Erase(clientID string) db.EraseReport {
	e.t.Helper()
	done, err := e.db.Erase(clientID, "a test", "")
	if err != nil {
		e.t.Fatalf("functionstest: erase %s: %v", clientID, err)
	}
	return done
}
