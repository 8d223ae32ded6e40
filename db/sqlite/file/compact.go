package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"inturn/db/sqlite/internal/conn"
)

// Compact writes the database at path anew, without free pages and without traces of
// what was deleted, and returns its size before and after, in bytes. No other process
// may have the file open. The new file is a copy beside it that is checked before it takes
// its place, so a crash leaves the old file or the new one, whole; there must be room for
// both.
//
// Errors: ErrInUse, also for a program that only reads; and those of Backup. After an
// error path is as it was.
func Compact(ctx context.Context, path string, o CopyOptions) (before, after int64, err error) {
	if before, after, err = compact(ctx, path, o); err != nil {
		return before, 0, fmt.Errorf("compact %s: %w", path, err)
	}
	return before, after, nil
}

func compact(ctx context.Context, path string, o CopyOptions) (before, after int64, err error) {
	if path, err = filepath.Abs(path); err == nil {
		path, err = Resolve(path)
	}
	if err != nil {
		return 0, 0, err
	}
	if _, err := os.Stat(path); err != nil {
		return 0, 0, err
	}
	if err := errors.Join(CheckNoRestore(path), CheckWAL(path)); err != nil {
		return 0, 0, err
	}
	l, err := seize(ctx, path, lockPatience, func(error) {})
	if err != nil {
		return 0, 0, err
	}
	defer l.Release()
	defer func() {
		if err != nil {
			l.Withdraw()
		}
	}()

	if err := CheckBase(ctx, path); err != nil {
		return 0, 0, err
	}
	pool, err := sql.Open("sqlite", conn.FileDSN(path, map[string][]string{"_pragma": {"trusted_schema(OFF)", "locking_mode(EXCLUSIVE)"}}))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	own, err := pool.Conn(ctx)
	if err != nil {
		return 0, 0, checkNotOwned(err)
	}
	defer own.Close()
	version, need, err := exclusive(ctx, own)
	if err != nil {
		return 0, 0, err
	}
	before = Size(path)
	if err := roomFor(filepath.Dir(path), need); err != nil {
		return before, 0, err
	}
	p, err := newPart(path)
	if err != nil {
		return before, 0, err
	}
	defer p.discard()
	o.tell(StageCopy, 0, need)
	if _, err := own.ExecContext(ctx, "VACUUM INTO ?", p.path); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return before, 0, writing(err)
	}
	o.tell(StageCopy, need, need)
	if err := errors.Join(p.seal(0, ""), chownLike(p.path, path), p.sync()); err != nil {
		return before, 0, err
	}
	if err := p.check(ctx, version, o); err != nil {
		return before, 0, err
	}
	if !l.inPlace() {
		return before, 0, ErrInUse
	}
	// The exclusive lock is held on the old file until the new one stands in its place.
	if err := errors.Join(p.rename(path), RemoveAll(path+"-shm")); err != nil { // of a reader that has ended
		return before, 0, err
	}
	return before, Size(path), nil
}

// exclusive makes sure that own is the only one on its file, which it takes out of WAL mode
// for that, and keeps it so. It returns the file's version, and how many bytes of it
// are in use.
func exclusive(ctx context.Context, own *sql.Conn) (version int, used int64, err error) {
	marks, err := ReadMarks(ctx, own)
	if err != nil {
		return 0, 0, busyOr(checkNotOwned(err))
	}
	if err := marks.Check(); err != nil {
		return 0, 0, err
	}
	var mode string
	if err := own.QueryRowContext(ctx, "PRAGMA journal_mode = DELETE").Scan(&mode); err != nil {
		return 0, 0, busyOr(writing(err))
	}
	if mode != "delete" {
		return 0, 0, fmt.Errorf("%w: another program reads it", ErrInUse)
	}
	// In this locking mode the lock of a write is kept.
	for _, text := range []string{"BEGIN EXCLUSIVE", "UPDATE owner SET name = name WHERE one = 1", "COMMIT"} {
		if _, err := own.ExecContext(ctx, text); err != nil {
			return 0, 0, busyOr(writing(err))
		}
	}
	row := own.QueryRowContext(ctx, `SELECT ((SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count))
		* (SELECT page_size FROM pragma_page_size)`)
	return marks.Version, used, row.Scan(&used)
}

// busyOr says of a lock that somebody else holds what it means here.
func busyOr(err error) error {
	if conn.KindOf(err) == conn.Busy {
		return fmt.Errorf("%w: another program reads or writes it: %w", ErrInUse, err)
	}
	return err
}
