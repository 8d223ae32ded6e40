package dbtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"inturn/db"
)

// patience bounds a wait for what must come; it is no measure of speed.
const patience = 30 * time.Second

// suite is one test of an empty database.
type suite struct {
	*testing.T
	empty New
	db    Database
}

// notesTable is a function's table. It refuses a text that is there.
var notesTable = []db.Migration{{Function: "notes", Version: 1, SQL: `CREATE TABLE notes (client_id TEXT NOT NULL, text TEXT NOT NULL UNIQUE)`}}

// open opens the database of this test.
func (s *suite) open(o Options) Engine {
	s.Helper()
	if s.db == nil {
		s.db = s.empty(s.T, s.TempDir())
	}
	return s.openOf(s.db, o)
}

func (s *suite) openOf(d Database, o Options) Engine {
	s.Helper()
	if o.Tables == nil {
		o.Tables = notesTable
	}
	e, err := d.Open(s.Context(), o)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	s.Cleanup(func() { e.Close() })
	return e
}

// durable returns the database as a Durable, or skips what can't be shown without.
func (s *suite) durable() Durable {
	s.Helper()
	d, ok := s.db.(Durable)
	if !ok {
		s.Skip("this database ends with its engine")
	}
	return d
}

// crashed opens what a crash at this moment leaves.
func (s *suite) crashed(o Options) Engine {
	s.Helper()
	left, err := s.durable().Crash()
	if err != nil {
		s.Fatal(err)
	}
	return s.openOf(left, o)
}

// closed closes the engine and checks the database.
func (s *suite) closed(e Engine) {
	s.Helper()
	if err := e.Close(); err != nil {
		s.Fatalf("close: %v", err)
	}
	violations, err := s.db.Check(context.Background())
	if err != nil {
		s.Fatalf("check: %v", err)
	}
	for _, v := range violations {
		s.Errorf("check: %s: %s", v.Kind, v.Detail)
	}
}

func event(client, message string) db.Event {
	return db.Event{ClientID: client, MessageID: message, Type: "note", Payload: json.RawMessage(`{"n":1}`), RequestID: "r-" + message, Attrs: json.RawMessage(`{"a":1}`)}
}

// accept appends ev and returns it as the runner would get it, in its first attempt.
func (s *suite) accept(e Engine, ev db.Event) db.Event {
	s.Helper()
	r, err := e.Append(s.Context(), ev)
	if err != nil || r.Duplicate || r.Seq == 0 || r.State != db.Pending || r.Result != nil {
		s.Fatalf("append %s %s: %+v, %v", ev.ClientID, ev.MessageID, r, err)
	}
	ev.Seq, ev.Position, ev.Run, ev.Attempt = r.Seq, r.Seq, 1, 1
	return ev
}

// acceptAll appends events 1 to n of a client.
func (s *suite) acceptAll(e Engine, client string, n int) (list []db.Event) {
	s.Helper()
	for i := range n {
		list = append(list, s.accept(e, event(client, fmt.Sprint(i+1))))
	}
	return list
}

func doneWith(ev db.Event, effect db.Effect) db.Settlement {
	return db.Settlement{Event: ev, Status: db.Done, Effect: effect, StartedAt: time.UnixMicro(1000), PerAccount: true}
}

func deadOf(ev db.Event, reason string) db.Settlement {
	return db.Settlement{Event: ev, Status: db.Dead, Error: reason, StartedAt: time.UnixMicro(1000)}
}

// note is an effect that writes one row and returns its text.
func note(client, text string) db.Effect {
	return func(tx db.Tx) (any, error) {
		_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (client_id, text) VALUES (?1, ?2)", client, text)
		return text, err
	}
}

func (s *suite) settle(e Engine, items ...db.Settlement) {
	s.Helper()
	if n, err := e.Settle(items); n != len(items) || err != nil {
		s.Fatalf("settle: %d of %d, %v", n, len(items), err)
	}
}

// wantNotes wants these rows in the function's table, by their texts.
func (s *suite) wantNotes(e Engine, want ...string) {
	s.Helper()
	rows, err := e.Query(s.Context(), "SELECT text FROM notes ORDER BY text")
	if err != nil {
		s.Fatal(err)
	}
	got := []string{}
	for _, r := range rows {
		got = append(got, r[0].(string))
	}
	if !slices.Equal(got, append([]string{}, want...)) {
		s.Errorf("effects left %q, want %q", got, want)
	}
}

func (s *suite) find(e Engine, client, message string) db.StoredEvent {
	s.Helper()
	ev, err := e.Find(s.Context(), client, message)
	if err != nil {
		s.Fatalf("find %s %s: %v", client, message, err)
	}
	return ev
}

// pending returns the ids of an account's pending events, in order.
func (s *suite) pending(e Engine, client string) []string {
	s.Helper()
	events, more, err := e.PendingAfter(s.Context(), client, -1<<63, 1000, 1<<30)
	if err != nil || more {
		s.Fatalf("pending of %s: more %t, %v", client, more, err)
	}
	ids := []string{}
	for _, ev := range events {
		ids = append(ids, ev.MessageID)
	}
	return ids
}

func (s *suite) wantPending(e Engine, client string, want ...string) {
	s.Helper()
	if got := s.pending(e, client); !slices.Equal(got, append([]string{}, want...)) {
		s.Errorf("pending of %s: %q, want %q", client, got, want)
	}
}

// execute does a Command that must change something.
func (s *suite) execute(e Engine, c db.Command) db.CommandResult {
	s.Helper()
	r, err := e.Execute(s.Context(), c)
	if err != nil || !r.Changed || r.ID == 0 {
		s.Fatalf("%s %s%s %d: %+v, %v", c.Verb, c.ClientID, c.Type, c.Seq, r, err)
	}
	return r
}

// head returns the account's first pending event, as the runner would get it.
func (s *suite) head(e Engine, client string) db.Event {
	s.Helper()
	events, _, err := e.PendingAfter(s.Context(), client, -1<<63, 1, 1<<30)
	if err != nil || len(events) != 1 {
		s.Fatalf("head of %s: %d events, %v", client, len(events), err)
	}
	events[0].Attempt = 1
	return events[0]
}

func (s *suite) wait(what string, ch <-chan struct{}) {
	s.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		s.Fatalf("%s did not come", what)
	}
}

// wantError wants an error that is want, nil for none.
func (s *suite) wantError(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("error %v, want %v", err, want)
	}
}

// eventually waits for what the engine does by itself and tells nobody of.
func (s *suite) eventually(what string, is func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("%s did not come", what)
		}
	}
}

// changes returns the changes from now on, in order.
func (s *suite) changes(e Engine) <-chan db.Change {
	ch := make(chan db.Change, 100)
	e.OnChange(func(list []db.Change) {
		for _, c := range list {
			ch <- c
		}
	})
	return ch
}

// reopened is e after a crash, or e itself where the database ends with it.
func (s *suite) reopened(e Engine) Engine {
	s.Helper()
	if _, ok := s.db.(Durable); !ok {
		return e
	}
	return s.crashed(Options{})
}
