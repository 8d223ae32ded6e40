package db_test

import (
	"context"
	"errors"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite"
)

// The life of an event: accepted, settled with its effect, and answered to a repeat.
func Example() {
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, sqlite.Options{
		Path: ":memory:", Tables: []db.Migration{{Function: "note", Version: 1, SQL: "CREATE TABLE notes (text TEXT NOT NULL) STRICT"}},
	})
	if err != nil {
		panic(err)
	}
	defer engine.Close()
	ev := db.Event{ClientID: "anna", MessageID: "1", Type: "note", Payload: []byte(`{"text":"tea"}`)}

	accepted, err := engine.Append(ctx, ev)
	fmt.Println(accepted.Seq, accepted.State, accepted.Duplicate, err)

	ev.Seq, ev.Position, ev.Run, ev.Attempt = accepted.Seq, accepted.Seq, 1, 1 // as the runner gets it
	settled, err := engine.Settle([]db.Settlement{{Event: ev, Status: db.Done, Effect: func(tx db.Tx) (any, error) {
		_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES ('tea')")
		return map[string]bool{"noted": true}, err
	}}})
	fmt.Println(settled, err)

	repeat, err := engine.Append(ctx, ev)
	fmt.Println(repeat.Seq, repeat.State, repeat.Duplicate, string(repeat.Result.Output), err)

	ev.Payload = []byte(`{"text":"coffee"}`)
	_, err = engine.Append(ctx, ev)
	_, reused := errors.AsType[*db.IDReusedError](err)
	fmt.Println(reused)
	// Output:
	// 1 pending false <nil>
	// 1 <nil>
	// 1 done true {"noted":true} <nil>
	// true
}

// An effect's failure concerns its own event only: nothing that it wrote is kept.
func ExampleEffect() {
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, sqlite.Options{Path: ":memory:"})
	if err != nil {
		panic(err)
	}
	defer engine.Close()
	r, err := engine.Append(ctx, db.Event{ClientID: "anna", MessageID: "1", Type: "f", Payload: []byte(`{}`)})
	if err != nil {
		panic(err)
	}
	ev := db.Event{ClientID: "anna", MessageID: "1", Type: "f", Seq: r.Seq, Position: r.Seq, Run: 1, Attempt: 1}
	settled, err := engine.Settle([]db.Settlement{{Event: ev, Status: db.Done, Effect: func(tx db.Tx) (any, error) {
		if err := tx.Emit(db.Event{ClientID: "bert", MessageID: "2", Type: "f", Payload: []byte(`{}`)}); err != nil {
			return nil, err
		}
		return nil, errors.New("it is not in stock")
	}}})
	fmt.Println(settled, err)
	_, err = engine.Find(ctx, "bert", "2")
	fmt.Println(errors.Is(err, db.ErrNotFound))
	// Output:
	// 0 it is not in stock
	// true
}
