package dbtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/functions"
	"inturn/runner"
)

// engine is one life of a database and its runner.
type engine struct {
	w      *world
	db     Database
	store  Engine
	runner *runner.Runner
	stop   chan struct{}
	ended  chan error

	mu     sync.Mutex
	armed  string   // at what the crash comes, and
	after  int      // after so many such steps
	dead   bool     // it has come: nothing that this engine does now is real
	left   Database // as the crash left it
	inside map[string]bool
}

// open starts an engine on d.
func (w *world) open(d Database) {
	e := &engine{w: w, db: d, stop: make(chan struct{}), ended: make(chan error, 1), inside: map[string]bool{}}
	w.engine = e
	set, err := functions.NewSet(e.functions()...)
	if err != nil {
		panic(err)
	}
	e.store, err = d.Open(context.Background(), Options{Tables: set.Tables(), Erasures: set.Erasures(), Check: set.Check, Batch: w.plan.batch})
	if err != nil {
		panic(err)
	}
	r := runner.New(runner.Options{Store: e.store, Functions: set, HotBytes: w.plan.hotBytes, Slice: w.plan.slice, Pollers: w.plan.pollers})
	e.runner = r
	e.store.OnChange(func(changes []db.Change) {
		e.crashAt(inErase)
		r.Changed(changes)
	})
	e.store.OnAppend(func(evs []db.Event) {
		e.crashAt(beforeAnswer)
		r.Appended(evs)
	})
	e.store.SetRunning(r.Running)
	r.Start(e.store.Backlog())
	var g run.Group
	r.AddTo(&g, 0)
	g.Add(func() error {
		select {
		case <-e.stop:
			return nil
		case <-e.store.Failed():
			return e.store.Err()
		}
	}, func(error) {})
	go func() { e.ended <- g.Run() }()
}

// close ends the engine in order. After a crash that is only to free what it holds.
func (e *engine) close() {
	close(e.stop)
	if err := errors.Join(<-e.ended, e.store.Close()); err != nil && !e.isDead() {
		e.w.wrong("the engine ended with: %v", err)
	}
}

// crash keeps the database as a kill would leave it. The caller sees to it that the
// engine isn't writing.
func (e *engine) crash() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead {
		return
	}
	e.dead = true // answers that come from now on are not heard
	left, err := e.db.(Durable).Crash()
	if err != nil {
		panic(err)
	}
	e.left = left
}

func (e *engine) crashAt(point string) {
	e.mu.Lock()
	now := false
	if e.armed == point {
		e.after--
		now = e.after < 0
	}
	e.mu.Unlock()
	if now {
		e.crash()
	}
}

func (e *engine) arm(point string, after int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed, e.after = point, after
}

func (e *engine) disarm() { e.arm("", 0) }

func (e *engine) isDead() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dead
}

var errPlanned = errors.New("planned")

const modelTables = `CREATE TABLE effects (
	n         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	client_id TEXT    NOT NULL,
	event     TEXT    NOT NULL   -- not unique: a double must be seen, not refused
) STRICT;`

func (e *engine) functions() []functions.Function {
	policy := functions.WithPolicy(functions.Policy{Attempts: 40, InitialBackoff: time.Second, MaxBackoff: 10 * time.Second, Timeout: limit})
	return []functions.Function{
		functions.New("plain", e.work, policy, functions.Tables(1, modelTables),
			functions.Erase("effects", "SELECT n FROM effects WHERE client_id = :client_id")),
		functions.New("slots", e.work, policy, functions.MaxConcurrent(2)),
		functions.New("ahead", e.ahead, policy, functions.Pure()),
		functions.New("audit", func(context.Context, functions.Event, struct{}) (functions.Effect, error) { return audit, nil }),
	}
}

// work does what the payload says, and sees that nobody else of its account does.
func (e *engine) work(ctx context.Context, ev functions.Event, s script) (functions.Effect, error) {
	e.mu.Lock()
	twice := e.inside[ev.ClientID]
	e.inside[ev.ClientID] = true
	e.mu.Unlock()
	if twice {
		e.w.wrong("two events of %s ran at the same time", ev.ClientID)
	}
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.inside[ev.ClientID] = false
	}()
	switch s.fails(ev.Attempt) {
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "ignore":
		time.Sleep(ignored)
		return nil, errPlanned
	}
	select {
	case <-time.After(time.Duration(s.Takes) * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return e.ahead(ctx, ev, s)
}

func (e *engine) ahead(_ context.Context, ev functions.Event, s script) (functions.Effect, error) {
	if !e.isDead() {
		e.w.mu.Lock()
		e.w.worked[ev.ClientID+"/"+ev.MessageID] = true
		held := e.w.ops.held(ev.ClientID, ev.Type)
		e.w.mu.Unlock()
		if held && s.Takes == 0 { // one that takes long had begun before
			e.w.wrong("%s/%s began although it was paused", ev.ClientID, ev.MessageID)
		}
	}
	fail := s.fails(ev.Attempt)
	switch fail {
	case "":
		switch s.Fate {
		case dead:
			return nil, functions.Reject(errPlanned)
		case parks:
			return nil, errPlanned
		}
	case "error", "hang", "ignore": // what works ahead waits for nothing
		return nil, errPlanned
	case "retry now":
		return nil, functions.Retry(0, errPlanned)
	case "retry later":
		return nil, functions.Retry(30*time.Second, errPlanned)
	case "panic":
		panic("planned")
	case "goexit":
		runtime.Goexit()
	}
	return func(tx functions.Tx) (any, error) { return nil, e.effect(tx, ev, s, fail) }, nil
}

// effect notes that it ran, as part of the settle, and fails afterwards if it must.
func (e *engine) effect(tx functions.Tx, ev functions.Event, s script, fail way) error {
	e.crashAt(inEffect)
	key := ev.ClientID + "/" + ev.MessageID
	run := fmt.Sprint(key, " run ", ev.Run)
	if _, err := tx.ExecContext(tx.Context(), `INSERT INTO effects (client_id, event) VALUES (?, ?)`, ev.ClientID, run); err != nil {
		return err
	}
	if s.Emits != "" {
		payload, err := json.Marshal(script{Fate: done})
		if err != nil {
			return err
		}
		if err := tx.Emit(functions.Event{ClientID: s.Emits, MessageID: "of " + key, Type: "plain", Payload: payload}); err != nil {
			return err
		}
	}
	switch fail {
	case "effect error":
		return errPlanned
	case "effect panic":
		panic("planned")
	case "effect sql":
		_, err := tx.ExecContext(tx.Context(), `INSERT INTO effects (client_id, event) VALUES (NULL, '')`)
		return err
	case "effect goexit":
		runtime.Goexit()
	}
	return nil
}

func audit(tx functions.Tx) (any, error) {
	rows, err := tx.QueryContext(tx.Context(), `SELECT event FROM effects ORDER BY n`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	keys := []string{}
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}
