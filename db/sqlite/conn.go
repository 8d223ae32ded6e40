package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"inturn/db/sqlite/internal/q"
)

const (
	codeCorrupt = sqlite3.SQLITE_CORRUPT
	codeNotADB  = sqlite3.SQLITE_NOTADB
)

// The settings of connections, and why:
//
//	journal_mode WAL     readers never wait for the writer, nor it for them. Set once
//	                     the file is known to be ours: it changes the file
//	synchronous FULL     one fsync of the WAL a commit: an answer means durable.
//	                     (NORMAL has none, and loses the last commits with the power)
//	foreign_keys         functions' tables use them
//	busy_timeout         another program may hold the write lock for a moment; the
//	                     committer's own loop waits longer than that
//	cache_size           64 MiB: with the default of 2 MB the writer reads the file
//	                     all the time
//	journal_size_limit   a WAL that a long reader made big is cut when it is reset
//	secure_delete ON     what is deleted is overwritten, so that an erased client's text
//	                     is not in free pages; also of rows that were deleted before
//	trusted_schema OFF   a file from elsewhere can't run functions by its schema
//	query_only           readers can't write
//
// https://www.sqlite.org/pragma.html
func writeDSN(path string) string {
	return fileDSN(path, url.Values{
		"_synchronous":  {"FULL"},
		"_busy_timeout": {"250"},
		"_foreign_keys": {"1"},
		"_pragma":       {"cache_size(-65536)", "journal_size_limit(67108864)", "secure_delete(ON)", "trusted_schema(OFF)"},
	})
}

// useWAL fails where the file's folder can't have one (some network file systems).
func (w *writer) useWAL() error {
	var mode string
	if err := w.conn.QueryRowContext(background, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("journal_mode WAL: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("journal_mode WAL: this file system gives %q", mode)
	}
	return nil
}

func memoryDSN() string {
	return "file::memory:?" + url.Values{"_foreign_keys": {"1"}, "_pragma": {"trusted_schema(OFF)"}}.Encode()
}

func readDSN(path string) string {
	return fileDSN(path, url.Values{
		"mode":          {"ro"},
		"_query_only":   {"1"},
		"_busy_timeout": {"5000"},
		"_pragma":       {"cache_size(-8192)", "trusted_schema(OFF)"},
	})
}

// fileDSN escapes what would otherwise end the path. https://www.sqlite.org/uri.html
func fileDSN(path string, params url.Values) string {
	r := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")
	return "file:" + r.Replace(path) + "?" + params.Encode()
}

// maxReaders bounds the read connections, and with them memory.
const maxReaders = 8

func (d *DB) openReaders() error {
	pool, err := sql.Open("sqlite", "")
	if err != nil {
		return err
	}
	d.readers = sql.OpenDB(unguarded{pool.Driver(), readDSN(d.path)})
	d.readers.SetMaxOpenConns(maxReaders)
	d.readers.SetMaxIdleConns(maxReaders)
	d.reads, err = q.Prepare(context.Background(), d.readers)
	return errors.Join(err, pool.Close())
}

// unguarded makes the connections of a pool, which gives each to one user at a time,
// without SQLite's mutex.
type unguarded struct {
	driver driver.Driver
	dsn    string
}

func (u unguarded) Driver() driver.Driver { return u.driver }

// Connect leaks the mutex, some 40 bytes: a pool of maxReaders connections has few of
// them in its life.
func (u unguarded) Connect(context.Context) (driver.Conn, error) {
	conn, err := u.driver.Open(u.dsn)
	if err != nil {
		return nil, err
	}
	tls := libc.NewTLS()
	defer tls.Close()
	db, err := connection(conn)
	if err == nil {
		_, err = takeMutex(tls, db)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// OpenReadOnly opens the file at path for reading, also while a server has it. No
// write gets through.
func OpenReadOnly(ctx context.Context, path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
		}
		return nil, err
	}
	pool, err := sql.Open("sqlite", readDSN(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	pool.SetMaxOpenConns(1)
	var n int
	if err := pool.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, hintCorrupt(err)), pool.Close())
	}
	return pool, nil
}
