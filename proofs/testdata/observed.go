package main

import (
	"context"
	"errors"
	"time"

	"inturn/functions"
)

// Functions that go wrong, for proofs/observed_test.go, which builds the real binary
// with this file added to it.
func init() {
	type anything struct{}
	first := functions.WithPolicy(functions.Policy{Attempts: 1, Timeout: 100 * time.Millisecond})
	all = append(all,
		functions.New("hangs", func(context.Context, functions.Event, anything) (functions.Effect, error) { select {} }, first),
		functions.New("fails", func(context.Context, functions.Event, anything) (functions.Effect, error) {
			return nil, errors.New("it fails")
		}, first),
		functions.New("rejects", func(context.Context, functions.Event, anything) (functions.Effect, error) {
			return nil, functions.Reject(errors.New("never"))
		}),
	)
}
