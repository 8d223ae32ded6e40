package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"inturn/db"
	"inturn/db/internal/commit"
)

// erasures are the Erases of this process.
type erasures struct {
	*reader
	committer *commit.Committer[work]
	log       *slog.Logger
	tables    []db.Erasure
	busy      sync.Map      // the clients that an Erase is busy with
	resumed   chan struct{} // closed when resume has ended
}

// erase calls between after each step; an error of it ends the erasure there.
func (s *erasures) erase(clientID, who, reason string, between func() error) (db.EraseReport, error) {
	e := &eraser{all: s, clientID: clientID, between: between, done: db.EraseReport{Client: db.EraseMark(clientID), Rows: map[string]int64{}}}
	var stop context.CancelFunc
	e.ctx, stop = context.WithCancel(background)
	defer stop()
	// Of two at once the first to end would let events in, and the other delete them.
	if _, busy := s.busy.LoadOrStore(clientID, true); busy {
		return e.done, fmt.Errorf("erase: %w", db.ErrErasing)
	}
	defer s.busy.Delete(clientID)
	go func() {
		select {
		case <-s.committer.Done():
			stop()
		case <-e.ctx.Done():
		}
	}()
	if err := e.run(who, db.Bounded(reason)); err != nil {
		if e.ctx.Err() != nil {
			err = db.ErrClosed
		}
		return e.done, fmt.Errorf("erase: %w", err)
	}
	return e.done, nil
}

// unfinished returns the accounts whose erasure was cut short.
func (s *erasures) unfinished(ctx context.Context) (list []string, err error) {
	rows, err := s.queryer().QueryContext(ctx, "SELECT client_id FROM erasing ORDER BY client_id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var clientID string
		if err := rows.Scan(&clientID); err != nil {
			return nil, err
		}
		list = append(list, clientID)
	}
	return list, rows.Err()
}

// resume goes on with the erasures that the last owner did not end. It ends with the
// committer.
func (s *erasures) resume(unfinished []string) {
	defer close(s.resumed)
	for _, clientID := range unfinished {
		done, err := s.erase(clientID, "", "", nil)
		switch {
		case err == nil:
			s.log.Info("an erasure that was cut short has ended", "client", done.Client, "events", done.Events)
		case !errors.Is(err, db.ErrClosed) && !errors.Is(err, db.ErrErasing):
			s.log.Error("an erasure can't go on; it is tried again at the next start", "error", err.Error())
		}
	}
}

// erasing is the accounts that are being erased. The committer's goroutine changes it.
type erasing struct {
	n        atomic.Int64 // spares everyone the look while there are none
	accounts sync.Map
}

func (e *erasing) add(clientID string) {
	if _, was := e.accounts.LoadOrStore(clientID, true); !was {
		e.n.Add(1)
	}
}

func (e *erasing) remove(clientID string) {
	if _, was := e.accounts.LoadAndDelete(clientID); was {
		e.n.Add(-1)
	}
}

func (e *erasing) has(clientID string) bool {
	if e.n.Load() == 0 {
		return false
	}
	_, is := e.accounts.Load(clientID)
	return is
}
