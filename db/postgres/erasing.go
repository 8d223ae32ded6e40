package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// erasures are the Erases of this process.
type erasures struct {
	*reader
	db      *DB
	log     *slog.Logger
	tables  []db.Erasure
	busy    sync.Map      // the clients that an Erase is busy with
	resumed chan struct{} // closed when resume has ended
}

// prepare finds out at the start what can't work.
func (s *erasures) prepare(ctx context.Context) error {
	for _, e := range s.tables {
		native, names := erasureQuery(e)
		if len(names) != 1 || names[0] != "client_id" {
			return fmt.Errorf("erasure of %s: its query has the one parameter :client_id", e.Table)
		}
		err := s.pool.with(ctx, func(c *pgx.Conn) error {
			_, err := c.Prepare(ctx, "", native)
			return err
		})
		if err != nil {
			return fmt.Errorf("erasure of %s: %w", e.Table, err)
		}
	}
	return nil
}

// unfinished returns the accounts whose erasure was cut short.
func (s *erasures) unfinished(ctx context.Context) (list []string, err error) {
	err = s.rows(ctx, s.pool, "SELECT client_id FROM erasing ORDER BY client_id", nil, func(rows pgx.Rows) (bool, error) {
		var clientID string
		err := rows.Scan(&clientID)
		list = append(list, clientID)
		return true, err
	})
	return list, err
}

// resume goes on with the erasures that the last owner did not end. It ends with the
// committer.
func (s *erasures) resume(unfinished []string) {
	defer close(s.resumed)
	for _, clientID := range unfinished {
		done, err := s.erase(clientID, "", "")
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
