package sqlite

import (
	"context"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// keepError keeps the error of an attempt that failed, and the last db.MaxErrors of its event.
func (w *writer) keepError(ev *db.Event, attempt int, reason string) error {
	last, err := w.q.LastError(background, ev.Seq)
	if err != nil {
		return fmt.Errorf("read errors: %w", err)
	}
	err = w.q.InsertError(background, q.InsertErrorParams{
		Seq: ev.Seq, N: last + 1, Run: ev.Run, Attempt: int64(attempt), At: w.now, Error: db.Bounded(reason),
	})
	if err != nil {
		return fmt.Errorf("insert error: %w", err)
	}
	if last < db.MaxErrors {
		return nil
	}
	if err := w.q.DropErrors(background, q.DropErrorsParams{Seq: ev.Seq, N: last + 1 - db.MaxErrors}); err != nil {
		return fmt.Errorf("delete errors: %w", err)
	}
	return nil
}

// Errors returns the errors of an event's last attempts, at most db.MaxErrors, the oldest
// first.
func (r *reader) Errors(ctx context.Context, seq int64) ([]db.AttemptError, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.q.Errors(ctx, seq)
	if err != nil {
		return nil, fmt.Errorf("list errors: %w", err)
	}
	list := make([]db.AttemptError, len(rows))
	for i, row := range rows {
		list[i] = db.AttemptError{Run: row.Run, Attempt: int(row.Attempt), At: unixMicro(row.At), Error: row.Error}
	}
	return list, nil
}

// Emitted returns receipts, without results, of up to limit events that the effects of an
// event emitted and that are kept, those after the seq after, in the order of seq.
func (r *reader) Emitted(ctx context.Context, seq, after int64, limit int) ([]db.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.q.EmittedBy(ctx, q.EmittedByParams{Seq: seq, After: after, Page: int64(page(limit))})
	if err != nil {
		return nil, fmt.Errorf("list emitted events: %w", err)
	}
	list := make([]db.Receipt, len(rows))
	for i, row := range rows {
		list[i] = db.Receipt{Seq: row.Seq, ClientID: row.ClientID, MessageID: row.MessageID, State: stateIn(row.Status, row.Scheduled)}
	}
	return list, nil
}
