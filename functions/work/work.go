// Package work is System A's function: it stands for processing that takes its
// time and writes nothing of its own.
package work

import (
	"context"
	"fmt"
	"time"

	"inturn/functions"
)

// Function handles events of type "work". It isn't Pure: the point is that an
// account's events take their time one after the other.
var Function = functions.New("work", work, functions.PayloadSchema(`{"type":"object","properties":{"ms":{"type":"integer","minimum":0,"maximum":60000,"default":1000}}}`))

// Bounds of Work.MS, in milliseconds.
const (
	DefaultMS = 1000
	MaxMS     = 60000
)

// Work is the payload. Other fields are the sender's own and are ignored.
type Work struct {
	MS *int64 `json:"ms"` // how long it takes, 0 to MaxMS; DefaultMS if absent
}

// Check refuses a payload at the door, naming the field.
func (w *Work) Check() error {
	if w.MS != nil && (*w.MS < 0 || *w.MS > MaxMS) {
		return functions.Field("ms", fmt.Sprintf("must be 0 to %d milliseconds", MaxMS))
	}
	return nil
}

func (w Work) duration() time.Duration {
	ms := int64(DefaultMS)
	if w.MS != nil {
		ms = *w.MS
	}
	return time.Duration(ms) * time.Millisecond
}

// work waits. Cut short, it returns why, so that the runner can tell a drain from a
// timeout.
func work(ctx context.Context, _ functions.Event, w Work) (functions.Effect, error) {
	done := time.NewTimer(w.duration())
	defer done.Stop()
	select {
	case <-done.C:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
