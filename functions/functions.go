// Package functions is the door through which code that runs on events enters
// inturn.
//
// A function has two phases. It first works, outside any transaction, for as long
// as it needs; what it wants written it returns as an effect, which commits in the
// transaction that settles the event:
//
//	work(event) -> Effect, nil        the effect and the result commit together
//	            -> nil, nil           done, nothing to write
//	            -> Retry(after, err)  again, not before after; the account waits
//	            -> Reject(err)        set aside as dead, the account goes on
//	            -> Park(err)          the account waits for a person
//	            -> Postpone(after, e) again, not before after; it was no attempt
//	            -> any other error    again with backoff; the account waits
//
// A function must not open the database's file, not even to copy it: when a process
// closes a file, POSIX drops all locks that the process has on it, also SQLite's,
// and another program may then remove the write-ahead log while the server writes to it.
//
// One folder each: see functions/message for one with tables and functions/work
// for one without. A function's folder imports this package only.
package functions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"inturn/db"

	jsonv2 "github.com/go-json-experiment/json"
)

// The plain types of the storage that functions see.
type (
	Event  = db.Event
	Effect = db.Effect
	// Tx is the settling transaction. It has the methods that sqlc's generated code
	// wants, keeps statements prepared by their text, and gives Emit.
	Tx = db.Tx
)

// Bounds of an effect.
const (
	MaxResult = db.MaxOutput // bytes of an event's result, as JSON
	MaxEmit   = db.MaxEmit   // events that it emits
)

// Function is what New and HTTP make and what serve.Main is given.
type Function struct {
	name          string
	work          func(context.Context, Event) (Effect, error)
	check         func(json.RawMessage) error
	schema        json.RawMessage
	tables        []db.Migration
	checks        []db.Invariant
	erases        []db.Erasure
	maxConcurrent int
	pure          bool
	policy        Policy

	pattern string
	http    func(*http.Request) (Event, error)

	emptyAnswer, repeatByID bool
}

// An Option of New.
type Option func(*Function)

// Tables gives a version of the function's own tables. Versions count from 1; give
// each as an option of its own, in order, and never change one that was deployed:
// a new file runs every version, an older one only those it lacks, at start and in one
// transaction.
//
// Keep an event's client_id and message_id, or its seq, as plain columns. A foreign key on a
// table of the engine, such as outbox, fails retention, and dangles after an erasure, which
// `inturn check` then reports as damage.
func Tables(version int, sql string) Option {
	return func(f *Function) {
		f.tables = append(f.tables, db.Migration{Function: f.name, Version: version, SQL: sql})
	}
}

// Invariant names something that must hold in the file, as a query that returns a
// row (its first column is text for people) for each violation. `inturn check`
// asks it.
func Invariant(kind, query string) Option {
	return func(f *Function) { f.checks = append(f.checks, db.Invariant{Kind: kind, Query: query}) }
}

// Erase says which rows of a table of the function's belong to a client, for when that
// client is erased: rows is a query for their rowids, with the parameter :client_id.
//
//	functions.Erase("orders", "SELECT rowid FROM orders WHERE client_id = :client_id")
//
// A table whose rows refer to another's is named before it, as references are not
// looked for. The query may scan the table: no event waits for it. A table that no Erase
// names keeps what it has.
func Erase(table, rows string) Option {
	return func(f *Function) { f.erases = append(f.erases, db.Erasure{Table: table, Rows: rows}) }
}

// MaxConcurrent bounds how many of the function's calls run at the same time, over all
// accounts. The default, 0, is no bound but that of all functions together
// (--in-flight). At most a quarter of the calls, and one at least, are of accounts whose
// last attempt failed, and of 8 calls or more an eighth is for accounts whose last event
// of this type was settled: so accounts whose calls hang don't hold up all others.
func MaxConcurrent(n int) Option { return func(f *Function) { f.maxConcurrent = n } }

// Pure says that work reads neither the database nor anything outside and
// depends on its event alone: it may then be called before the account's earlier
// events are settled. Effects still run in order, each after the one before it.
func Pure() Option { return func(f *Function) { f.pure = true } }

// WithPolicy replaces the default policy.
func WithPolicy(p Policy) Option { return func(f *Function) { f.policy = p } }

// New makes the function for events of type name. The payload is decoded into a P
// (JSON names are case-sensitive, unknown ones are ignored); where P has a method
// Check() error, it is asked too. Both happen at the door, so that a bad payload
// is refused before it is accepted, and again before work is called.
//
// New panics if its arguments can't work: they are constants of the program.
func New[P any](name string, work func(context.Context, Event, P) (Effect, error), opts ...Option) Function {
	decode := func(payload json.RawMessage) (P, error) {
		var p P
		if err := jsonv2.Unmarshal(payload, &p); err != nil {
			return p, payloadError(err)
		}
		if c, ok := any(&p).(interface{ Check() error }); ok {
			return p, c.Check()
		}
		return p, nil
	}
	f := Function{
		name: name,
		work: func(ctx context.Context, ev Event) (Effect, error) {
			p, err := decode(ev.Payload)
			if err != nil {
				return nil, Reject(fmt.Errorf("payload: %w", err))
			}
			return work(ctx, ev, p)
		},
		check: func(payload json.RawMessage) error {
			_, err := decode(payload)
			return err
		},
	}
	for _, o := range opts {
		o(&f)
	}
	schema, err := compactSchema(f.schema, reflect.TypeFor[P]())
	f.schema = schema
	if err := errors.Join(CheckType(name), f.policy.Validate(), err); err != nil {
		panic(fmt.Sprintf("functions.New(%q): %v", name, err))
	}
	f.policy = f.policy.withDefaults()
	if f.maxConcurrent < 0 {
		panic(fmt.Sprintf("functions.New(%q): MaxConcurrent is %d: must be at least 1, or 0 for no bound", name, f.maxConcurrent))
	}
	for i, t := range f.tables {
		if t.Version != i+1 {
			panic(fmt.Sprintf("functions.New(%q): Tables version %d is given at place %d", name, t.Version, i+1))
		}
	}
	return f
}

// HTTP makes an HTTP function: it turns a request that matches pattern (as
// http.ServeMux has it, with a method) into an event. It is for senders whose body
// isn't ours. It must authorize the sender itself: no token is asked for.
//
// The event it returns is checked, appended and answered as one that was posted.
// An error is answered 400, with its text; Unauthorized makes it 401. The body is
// bounded by --max-event.
//
// Where the function returns an error of Answer the sender gets that answer, and no event
// is made. Of the options EmptyAnswer and RepeatByID are for HTTP functions.
func HTTP(pattern string, fn func(*http.Request) (Event, error), opts ...Option) Function {
	if method, _, ok := strings.Cut(pattern, " "); !ok || method == "" {
		panic(fmt.Sprintf("functions.HTTP(%q): the pattern needs a method and a path", pattern))
	}
	f := Function{pattern: pattern, http: fn}
	for _, o := range opts {
		o(&f)
	}
	return f
}

// EmptyAnswer has an event that an HTTP function made answered by status 200 and nothing
// else, as soon as it is durable: for senders that show people what they are answered.
func EmptyAnswer() Option { return func(f *Function) { f.emptyAnswer = true } }

// RepeatByID makes an event of an HTTP function a repeat whose id was accepted before, also
// with another payload or type: for senders that compose a delivery anew when they repeat
// it. The first one stays as it is.
func RepeatByID() Option { return func(f *Function) { f.repeatByID = true } }

// Name is the type of the events that the function runs for, "" for an HTTP function.
func (f Function) Name() string { return f.name }

// Work runs the first phase.
func (f Function) Work(ctx context.Context, ev Event) (Effect, error) { return f.work(ctx, ev) }

// Policy returns the function's policy, complete.
func (f Function) Policy() Policy { return f.policy }

// MaxConcurrent returns the bound of simultaneous calls, 0 for none.
func (f Function) MaxConcurrent() int { return f.maxConcurrent }

// Pure reports whether work may be called before earlier events are settled.
func (f Function) Pure() bool { return f.pure }

// EmptyAnswer reports whether the option of this name was given.
func (f Function) EmptyAnswer() bool { return f.emptyAnswer }

// RepeatByID reports whether the option of this name was given.
func (f Function) RepeatByID() bool { return f.repeatByID }

// HTTP returns the pattern and code of an HTTP function, "" and nil for any other.
func (f Function) HTTP() (string, func(*http.Request) (Event, error)) { return f.pattern, f.http }
