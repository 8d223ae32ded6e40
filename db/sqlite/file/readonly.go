package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"inturn/db/sqlite/internal/conn"
	"io/fs"
	"os"
)

// OpenReadOnly opens the file at path for reading, also while a server has it. No
// write gets through.
func OpenReadOnly(ctx context.Context, path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
		}
		return nil, err
	}
	pool, err := sql.Open("sqlite", conn.ReadDSN(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	pool.SetMaxOpenConns(1)
	var n int
	if err := pool.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, conn.HintCorrupt(err)), pool.Close())
	}
	return pool, nil
}
