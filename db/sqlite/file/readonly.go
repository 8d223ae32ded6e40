package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"inturn/db/sqlite/internal/conn"
)

// ReadOnly is a database that is open for reading. Close removes what reading has made
// beside it.
type ReadOnly struct {
	*sql.DB
	beside beside
}

// Close closes the database.
func (r *ReadOnly) Close() error {
	err := r.DB.Close()
	r.beside.clear()
	return err
}

// OpenReadOnly opens the file at path for reading, also while a server has it. No
// write gets through. Errors: fs.ErrNotExist; ErrWALAlone; a LinksError; db.ErrCorrupt.
func OpenReadOnly(ctx context.Context, path string) (*ReadOnly, error) {
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
		}
		return nil, err
	}
	if err := CheckWAL(path); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := checkName(path); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	before := lookBeside(path)
	pool, err := sql.Open("sqlite", conn.ReadDSN(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	pool.SetMaxOpenConns(1)
	var n int
	if err := pool.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, conn.HintCorrupt(err)), (&ReadOnly{pool, before}).Close())
	}
	return &ReadOnly{pool, before}, nil
}

// Errors of CheckRead, beside SQLite's own for a text that it can't compile.
var (
	ErrNotReading     = errors.New("only reading is allowed")
	ErrNoStatement    = conn.ErrNoStatement
	ErrManyStatements = conn.ErrManyStatements
	ErrNUL            = conn.ErrNUL
)

// CheckRead reports why a text is not one statement that only reads rows: writes, also
// those of a VACUUM INTO or a PRAGMA, are refused by what SQLite compiles of it. Nothing
// runs. handle is one of OpenReadOnly.
func CheckRead(ctx context.Context, handle *ReadOnly, text string) error {
	reader, err := handle.Conn(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	err = conn.CheckRead(ctx, reader, text)
	if _, forbidden := errors.AsType[*conn.ForbiddenError](err); forbidden {
		return fmt.Errorf("%w: %w", ErrNotReading, err)
	}
	return err
}
