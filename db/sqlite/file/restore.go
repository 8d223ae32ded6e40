package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

// restoring is the suffix of a restored file while it takes the place of another. A
// database beside which one stands may lack its WAL, and is not opened.
const restoring = ".restoring"

// ErrRestoring: a restore ended in the middle of replacing the file.
var ErrRestoring = errors.New("a restore into this file was cut short")

// files are the suffixes of what belongs to a database and moves with it.
var files = []string{"", "-wal", "-shm", "-journal"}

// epochLeap is how far the owner's epoch moves in a restore: no process of the database
// from which the backup was taken, however often that was started again since, has one
// that is as great. Should one get at the restored file, it is fenced.
const epochLeap = 1 << 20

// Restore makes the database at path from a backup, or from any other sound file of
// inturn's. It is a copy, checked before it gets its name: the backup stays as it is.
// With o.Force a database that is there gives way, whole or damaged; it is kept beside
// under the name that is returned. A restore that was cut short while it did that is
// to be done again; until then the file can't be opened.
//
// Errors: ErrExists; ErrInUse, also with o.Force, unless the beat of the process that
// has it stands still; and those of Backup. After an error (but for ErrRestoring) path
// is as it was.
func Restore(ctx context.Context, backup, path string, o CopyOptions) (kept string, err error) {
	if kept, err = restore(ctx, backup, path, o); err != nil {
		return "", fmt.Errorf("restore %s: %w", path, err)
	}
	return kept, nil
}

func restore(ctx context.Context, backup, path string, o CopyOptions) (kept string, err error) {
	backup, path, err = distinctPaths(backup, path)
	if err != nil {
		return "", err
	}
	if _, err := epochOf(backup); err != nil { // before anything is made
		return "", err
	}
	if err := MakeDirs(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	if path, err = Resolve(path); err != nil {
		return "", err
	}
	if !o.Force {
		if err := mustNotExist(path+restoring, path, path+"-wal", path+"-journal"); err != nil {
			return "", err
		}
	}
	var lost atomic.Bool
	l, err := seize(ctx, path, lockPatience, func(error) { lost.Store(true) })
	if o.Force && errors.Is(err, ErrInUse) {
		o.tell(fmt.Sprintf("%v; waiting for %v, in case that it is stopped for good", err, beatDead), 0, 0)
		l, err = seize(ctx, path, lockPatience+beatDead, func(error) { lost.Store(true) })
	}
	if err != nil {
		return "", err
	}
	defer l.Release()
	defer func() {
		if err != nil && !errors.Is(err, ErrRestoring) {
			l.Withdraw()
		}
	}()

	p, err := newPart(path)
	if err != nil {
		return "", err
	}
	defer p.discard()
	version, err := p.fill(ctx, backup, o)
	if err != nil {
		return "", err
	}
	epoch, err := leap(p.path, path)
	if err != nil {
		return "", err
	}
	if err := p.seal(epoch, "restore by "+OwnerName()); err != nil {
		return "", err
	}
	if err := errors.Join(chownLike(p.path, path), p.sync()); err != nil {
		return "", err
	}
	if err := p.check(ctx, version, o); err != nil {
		return "", err
	}
	if lost.Load() || !l.inPlace() {
		return "", ErrInUse
	}
	if !o.Force {
		err = p.link(path)
	} else {
		kept, err = p.replace(path)
	}
	if err == nil { // what it lacks of the answered is what was asked for
		l.SetAnswered(0)
	}
	return kept, err
}

// replace puts the copy in the place of the database at path, whose files are kept
// under another name. In between, the copy's name says what is going on.
func (p *part) replace(path string) (kept string, err error) {
	kept = path + ".before-" + time.Now().UTC().Format("20060102T150405Z")
	for _, suffix := range files {
		if err := mustNotExist(kept + suffix); err != nil {
			return "", err
		}
	}
	if err := p.rename(path + restoring); err != nil {
		return "", err
	}
	moved := false
	for _, suffix := range files {
		err := os.Rename(path+suffix, kept+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w: %w", ErrRestoring, err)
		}
		moved = moved || err == nil
	}
	err = SyncDir(filepath.Dir(path))
	if err == nil {
		err = os.Rename(path+restoring, path)
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRestoring, err)
	}
	if !moved {
		return "", nil
	}
	return kept, nil
}

// CheckNoRestore returns ErrRestoring if a restore of path was cut short.
func CheckNoRestore(path string) error {
	if err := mustNotExist(path + restoring); err != nil {
		return fmt.Errorf("%w: %w", ErrRestoring, err)
	}
	return nil
}

// seize takes the lock of the database at path for a command.
func seize(ctx context.Context, path string, patience time.Duration, lost func(error)) (*Lock, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, ErrInUse)
	defer cancel()
	l, err := Acquire(ctx, path, OwnerName(), slog.New(slog.DiscardHandler), lost)
	switch {
	case err == nil:
		return l, chownLike(l.path, path)
	case context.Cause(ctx) == ErrInUse:
		holder, _ := readBeat(path + ".lock")
		return nil, fmt.Errorf("%w: %s", ErrInUse, holder)
	}
	return nil, err
}

// leap returns the epoch for a restored file: far beyond those of both the files.
func leap(copied, there string) (int64, error) {
	epoch, err := epochOf(copied)
	if err != nil {
		return 0, err
	}
	if old, err := epochOf(there); err == nil { // it may be gone, or damaged
		epoch = max(epoch, old)
	}
	return epoch + epochLeap, nil
}

func epochOf(path string) (epoch int64, err error) {
	if _, err := os.Stat(path); err != nil {
		return 0, err
	}
	if err := CheckWAL(path); err != nil {
		return 0, err
	}
	pool, err := sql.Open("sqlite", conn.FileDSN(path, map[string][]string{"mode": {"ro"}, "_pragma": {"trusted_schema(OFF)"}}))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	marks, err := ReadMarks(context.Background(), pool)
	if err != nil {
		return 0, checkNotOwned(err)
	}
	if err := marks.Check(); errors.Is(err, db.ErrForeign) { // a newer one has an epoch too
		return 0, err
	}
	err = pool.QueryRowContext(context.Background(), "SELECT epoch FROM owner WHERE one = 1").Scan(&epoch)
	return epoch, checkNotOwned(err)
}
