package sqlite

import (
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// writable returns nil if events of the account are taken, run and settled, else a refusal:
// db.ErrErasing. Whatever writes for an account asks here.
func (w *writer) writable(clientID string) error {
	if w.erasing.has(clientID) {
		return refusal{db.ErrErasing}
	}
	return nil
}

// runAgain moves an event's result to runs and makes it pending at turn.
func (w *writer) runAgain(clientID string, seq, run, turn int64) error {
	if n, err := w.q.KeepRun(background, seq); err != nil || n != 1 {
		return fmt.Errorf("keep run: %d rows, %w", n, err)
	}
	if n, err := w.q.DeleteResult(background, seq); err != nil || n != 1 {
		return fmt.Errorf("delete result: %d rows, %w", n, err)
	}
	if err := w.hot.insertPending(q.InsertPendingParams{ClientID: clientID, Turn: turn, Seq: seq, Run: run}); err != nil {
		return fmt.Errorf("insert pending: %w", err)
	}
	w.pend(clientID, 1)
	return nil
}

// release clears what is said of the account's head.
func (w *writer) release(clientID string) error {
	if err := w.q.ReleaseAccount(background, clientID); err != nil {
		return fmt.Errorf("release account: %w", err)
	}
	w.rest(clientID, restParked, false)
	return nil
}

// changed notes what the account's row says now.
func (w *writer) changed(clientID string, reread bool) error {
	s, err := w.q.Standing(background, clientID)
	if err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	c := db.Change{
		ClientID: clientID, Paused: s.Paused == 1, Parked: s.Parked == 1, Attempts: int(s.Attempts),
		Replaying: s.ReplayNext.Valid, Reread: reread, Position: w.nextSeq,
	}
	if s.NextAt.Valid {
		c.NextAt = unixMicro(s.NextAt.Int64)
	}
	w.changes = append(w.changes, c)
	return nil
}
