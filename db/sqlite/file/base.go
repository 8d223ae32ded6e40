package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"inturn/db/sqlite/internal/conn"
)

// ErrWALOfAnother: the WAL beside a database file continues another file, or another state
// of it, as where an older copy was put in the file's place and the WAL was left. SQLite
// would apply its pages nonetheless.
var ErrWALOfAnother = errors.New("the write-ahead log beside it continues another file: an older copy or another database stands in the file's place, or the log was put beside it")

// noBase is the base of a file that isn't inturn's.
const noBase = -1

// CheckBase returns ErrWALOfAnother if there is a WAL and the file at path without it is not
// what it continues: then the file has neither of the two numbers that the owner has with it,
// or is damaged only with it. A file that can't be read without its WAL is not refused for
// that: it may be half written, as a checkpoint was cut short.
//
// It is to be called with the lock, before the process has the file open: as it closes the
// file, SQLite's locks on it would be lost. And before SQLite opens the file for writing: it
// would move the WAL into it when it closes it.
func CheckBase(ctx context.Context, path string) error {
	if Size(path) == 0 || Size(path+"-wal") == 0 {
		return nil
	}
	alone, _, unread := readBase(ctx, conn.FileDSN(path, url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"trusted_schema(OFF)"}}))
	base, former, err := readBase(ctx, conn.ReadDSN(path))
	switch {
	case damaged(err) && unread != nil:
		return conn.HintCorrupt(err)
	case damaged(err):
		return fmt.Errorf("%w: %s-wal: with it the file is damaged: %w", ErrWALOfAnother, path, err)
	case err != nil || unread != nil || alone == base || alone == former:
		return nil // what else is wrong the caller will meet
	}
	return fmt.Errorf("%w: %s-wal", ErrWALOfAnother, path)
}

var errEmpty = errors.New("there is no table in it")

// readBase returns the numbers of the owner of an open database: 0 in one of a version that
// has none, noBase in one that isn't inturn's.
func readBase(ctx context.Context, dsn string) (base, former int64, err error) {
	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	pool.SetMaxOpenConns(1)
	marks, err := ReadMarks(ctx, pool)
	switch {
	case err != nil:
		return 0, 0, err
	case marks == (Marks{}):
		return 0, 0, errEmpty
	case marks.Known < 4:
		return noBase, noBase, nil
	}
	var columns int
	err = pool.QueryRowContext(ctx, "SELECT count(*) FROM pragma_table_info('owner') WHERE name = 'base'").Scan(&columns)
	if err != nil || columns == 0 {
		return 0, 0, err
	}
	err = pool.QueryRowContext(ctx, "SELECT base, former_base FROM owner WHERE one = 1 AND typeof(base) = 'integer'").Scan(&base, &former)
	return base, former, err
}
