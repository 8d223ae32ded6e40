// Command observed is inturn with functions that go wrong, for proofs/observed_test.go.
package main

import (
	"context"
	"errors"
	"time"

	"inturn/functions"
	"inturn/functions/message"
	"inturn/functions/work"
	"inturn/serve"
)

func main() {
	type anything struct{}
	first := functions.WithPolicy(functions.Policy{Attempts: 1, Timeout: 100 * time.Millisecond})
	serve.Main(message.Function, message.Close, work.Function,
		functions.New("hangs", func(context.Context, functions.Event, anything) (functions.Effect, error) { select {} }, first),
		functions.New("fails", func(context.Context, functions.Event, anything) (functions.Effect, error) {
			return nil, errors.New("it fails")
		}, first),
		functions.New("rejects", func(context.Context, functions.Event, anything) (functions.Effect, error) {
			return nil, functions.Reject(errors.New("never"))
		}),
	)
}
