// Command failing is inturn with functions that fail on demand, for tests. While the file
// bank.down is in the server's working directory, every attempt of charge fails; while
// card.blocked is, it rejects every event. refund rejects always.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"inturn/functions"
	"inturn/functions/message"
	"inturn/functions/work"
	"inturn/serve"
)

func main() {
	soon := functions.WithPolicy(functions.Policy{Attempts: 3, InitialBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	tables := functions.Tables(1, `CREATE TABLE charges (
		n INTEGER NOT NULL PRIMARY KEY, client_id TEXT NOT NULL, message_id TEXT NOT NULL, cents INTEGER NOT NULL) STRICT`)
	serve.Main(message.Function, message.Close, work.Function,
		functions.New("charge", charge, soon, tables),
		functions.New("refund", refund))
}

func refund(context.Context, functions.Event, struct{}) (functions.Effect, error) {
	return nil, functions.Reject(errors.New("this can never succeed"))
}

type amount struct {
	Cents int64 `json:"cents"`
}

func charge(_ context.Context, ev functions.Event, a amount) (functions.Effect, error) {
	if _, err := os.Stat("bank.down"); err == nil {
		return nil, errors.New("the bank does not answer")
	}
	if _, err := os.Stat("card.blocked"); err == nil {
		return nil, functions.Reject(errors.New("the card is blocked"))
	}
	return func(tx functions.Tx) (any, error) {
		_, err := tx.ExecContext(tx.Context(), `INSERT INTO charges (client_id, message_id, cents) VALUES (?, ?, ?)`, ev.ClientID, ev.MessageID, a.Cents)
		return map[string]int64{"cents": a.Cents}, err
	}, nil
}
