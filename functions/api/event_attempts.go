package api

import (
	"context"
	"strconv"

	"inturn/db"
)

// attemptReader is a store that keeps the errors of attempts and what was emitted.
type attemptReader interface {
	// Errors returns the errors of an event's last attempts, the oldest first.
	Errors(ctx context.Context, seq int64) ([]db.AttemptError, error)
	// Emitted returns receipts of the events that it emitted, those after the seq after.
	Emitted(ctx context.Context, seq, after int64, limit int) ([]db.Receipt, error)
}

// attempts are what is kept of an event's attempts.
type attempts struct {
	errors  []db.AttemptError
	emitted []db.Receipt
}

// attempts reads what the store keeps of an event's attempts.
func (q *queries) attempts(ctx context.Context, seq int64) (a attempts, err error) {
	store, ok := q.store.(attemptReader)
	if !ok {
		return a, nil
	}
	if a.errors, err = store.Errors(ctx, seq); err != nil {
		return a, err
	}
	a.emitted, err = store.Emitted(ctx, seq, 0, db.MaxEmit)
	return a, err
}

// attempts adds what there is to the object of an event.
func (w *answerWriter) attempts(a *attempts) {
	for i, e := range a.errors {
		w.text([]string{`,"errors":[{"run":`, `,{"run":`}[min(i, 1)])
		w.buf = strconv.AppendInt(w.buf, e.Run, 10)
		w.text(`,"attempt":`)
		w.buf = strconv.AppendInt(w.buf, int64(e.Attempt), 10)
		w.buf = appendTime(w.buf, "at", e.At)
		w.text(`,"error":`)
		w.buf = appendText(w.buf, e.Error)
		w.text("}")
		w.spill()
	}
	if len(a.errors) > 0 {
		w.text("]")
	}
	for i, r := range a.emitted {
		w.text([]string{`,"emitted":[`, `,`}[min(i, 1)])
		w.buf = append(appendIdentity(w.buf, r.ClientID, r.MessageID, r.Seq, r.State), '}')
		w.spill()
	}
	if len(a.emitted) > 0 {
		w.text("]")
	}
}
