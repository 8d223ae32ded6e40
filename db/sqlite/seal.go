package sqlite

import (
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// seal lets nothing commit but what the committer itself commits: while a group or
// a migration runs, a COMMIT in disguise, and a statement that finds itself outside
// the transaction after that has ended, are rolled back instead.
// https://www.sqlite.org/c3ref/commit_hook.html
type seal struct {
	on            bool // whoever runs statements on the connection has it
	begin, commit *stmt
}

func newSeal(conn *sql.Conn, h *handle) (*seal, error) {
	s := &seal{}
	var err error
	if s.begin, err = h.prepare("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	if s.commit, err = h.prepare("COMMIT"); err != nil {
		return nil, errors.Join(err, s.close(conn))
	}
	return s, s.register(conn, func() int32 {
		if s.on {
			return 1
		}
		return 0
	})
}

func (s *seal) close(conn *sql.Conn) error {
	s.begin.close()
	s.commit.close()
	return s.register(conn, nil)
}

func (s *seal) register(conn *sql.Conn, hook sqlite.CommitHookFn) error {
	return conn.Raw(func(dc any) error {
		h, ok := dc.(sqlite.HookRegisterer)
		if !ok {
			return fmt.Errorf("unexpected driver connection %T", dc)
		}
		h.RegisterCommitHook(hook)
		return nil
	})
}

// commit ends the transaction that begin has begun.
func (w *writer) commit() error {
	w.seal.on = false
	_, err := w.seal.commit.exec()
	return err
}

// begin takes the write lock and seals the connection.
func (w *writer) begin() error {
	_, err := w.seal.begin.exec()
	w.seal.on = err == nil
	return err
}

// rollback ends the transaction, if it still stands, and opens the seal.
func (w *writer) rollback() error {
	var err error
	if w.handle.inTransaction() {
		if err = w.sql("ROLLBACK"); err != nil && !w.handle.inTransaction() {
			err = nil
		}
	}
	w.seal.on = false
	return err
}
