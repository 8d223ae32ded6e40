package sqlite

import (
	"errors"

	"inturn/db"
	"inturn/db/internal/commit"
	"inturn/db/sqlite/internal/conn"
)

// classify sorts an error of a statement of c.
func classify(c *conn.Conn, err error) commit.Class {
	if errors.Is(err, db.ErrFenced) {
		return commit.Fenced
	}
	switch c.KindOf(err) {
	case conn.Busy:
		return commit.Busy
	case conn.Full:
		return commit.Full
	case conn.IO:
		return commit.IO
	case conn.Corrupt, conn.NotADB:
		return commit.Corrupt
	}
	return commit.Own
}
