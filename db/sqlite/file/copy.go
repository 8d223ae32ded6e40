package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

// CopyOptions says how a copy of a database is made, by Backup, Restore and Compact.
type CopyOptions struct {
	Invariants []db.Invariant // of the functions, for the check of the copy
	Force      bool           // put the copy in the place of what has its name
	// Progress, if not nil, hears of every stage, and while bytes are copied how far it
	// is. It must not block.
	Progress func(stage string, done, total int64)
}

// The stages of a copy.
const (
	StageCopy  = "copied"
	StageCheck = "checking"
)

func (o CopyOptions) tell(stage string, done, total int64) {
	if o.Progress != nil {
		o.Progress(stage, done, total)
	}
}

var (
	// ErrExists: there is a file of that name, and nobody said that it may go.
	ErrExists = errors.New("there is a file of this name")
	// ErrInUse: a process has the database.
	ErrInUse = errors.New("a process has the database")
	// ErrUnsound: a copy was made and did not pass its check.
	ErrUnsound = errors.New("the copy did not pass the check")
)

// rename gives the finished copy its name, for good.
func (p *part) rename(to string) error {
	if err := os.Rename(p.path, to); err != nil {
		return err
	}
	p.path = ""
	return SyncDir(filepath.Dir(to))
}

// link gives the copy its name and syncs the folder, as rename does. It fails with
// ErrExists if there is such a name.
func (p *part) link(to string) error {
	err := os.Link(p.path, to)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: %w", to, ErrExists)
	case err != nil: // this file system has no links; what is left is to look first
		if err := mustNotExist(to); err != nil {
			return err
		}
		return p.rename(to)
	}
	if err := os.Remove(p.path); err != nil {
		return err
	}
	p.path = ""
	return SyncDir(filepath.Dir(to))
}

// mustNotExist returns ErrExists if one of the names is there.
func mustNotExist(paths ...string) error {
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s: %w", path, ErrExists)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func RemoveAll(paths ...string) (err error) {
	for _, path := range paths {
		if rerr := os.Remove(path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// fill copies the database at from as it is at one moment, also while others write to
// it, and returns the schema version it has.
//
// SQLite's backup functions copy pages as they are, inside one read transaction. Why
// that, and not VACUUM INTO or many short ones, is in docs/design/copies.md.
func (p *part) fill(ctx context.Context, from string, o CopyOptions) (version int, err error) {
	if err := CheckWAL(from); err != nil {
		return 0, err
	}
	if err := checkName(from); err != nil {
		return 0, err
	}
	defer lookBeside(from).clear()
	pool, err := sql.Open("sqlite", conn.FileDSN(from, map[string][]string{
		"mode": {"ro"}, "_busy_timeout": {"5000"}, "_pragma": {"cache_size(-1024)", "trusted_schema(OFF)"},
	}))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	source, err := pool.Conn(ctx)
	if err != nil {
		return 0, checkNotOwned(err)
	}
	defer source.Close()
	if _, err := source.ExecContext(ctx, "BEGIN"); err != nil {
		return 0, checkNotOwned(err)
	}
	defer source.ExecContext(context.Background(), "ROLLBACK") // it has only read
	marks, err := ReadMarks(ctx, source)
	if err != nil {
		return 0, checkNotOwned(err)
	}
	if err := marks.Check(); err != nil {
		return 0, err
	}
	var pages, size int64
	row := source.QueryRowContext(ctx, `SELECT (SELECT page_count FROM pragma_page_count), (SELECT page_size FROM pragma_page_size)`)
	if err := row.Scan(&pages, &size); err != nil {
		return 0, checkNotOwned(err)
	}
	if err := roomFor(filepath.Dir(p.path), pages*size); err != nil {
		return 0, err
	}
	// Nothing of it counts before seal, which syncs it.
	to := conn.FileDSN(p.path, map[string][]string{"_pragma": {"journal_mode(OFF)", "synchronous(OFF)"}})
	return marks.Version, writing(conn.CopyPages(ctx, source, to, func(left int64) { o.tell(StageCopy, (pages-left)*size, pages*size) }))
}

// checkNotOwned takes what is no database at all for somebody else's file.
func checkNotOwned(err error) error {
	if conn.KindOf(err) == conn.NotADB {
		return fmt.Errorf("%w: %w", db.ErrForeign, err)
	}
	return conn.HintCorrupt(err)
}

// writing says of an error of the copy what it is about.
func writing(err error) error {
	switch conn.KindOf(err) {
	case conn.Full:
		return fmt.Errorf("%w: %w", db.ErrStorageFull, err)
	case conn.IO:
		return fmt.Errorf("the copy can't be written (does the disk fail, or is a quota used up?): %w", err)
	}
	return conn.HintCorrupt(err)
}

// seal makes the copy a file that stands for itself, without a WAL beside it, and
// syncs it. epoch, if not 0, becomes its owner's.
func (p *part) seal(epoch int64, name string) (err error) {
	pool, err := sql.Open("sqlite", conn.FileDSN(p.path, map[string][]string{"_synchronous": {"FULL"}, "_pragma": {"trusted_schema(OFF)"}}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	pool.SetMaxOpenConns(1)
	var mode string
	if err := pool.QueryRowContext(context.Background(), "PRAGMA journal_mode = DELETE").Scan(&mode); err != nil {
		return writing(err)
	}
	if mode != "delete" {
		return fmt.Errorf("the copy can't be taken out of WAL mode: it is in %q", mode)
	}
	if epoch != 0 {
		if _, err := pool.ExecContext(context.Background(), "UPDATE owner SET epoch = ?, name = ? WHERE one = 1", epoch, name); err != nil {
			return writing(err)
		}
	}
	return nil
}

// sync makes the content of the copy safe: its name must never be.
func (p *part) sync() error {
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// check proves that the copy is sound. Of a file that is older than this binary it
// asks only SQLite.
func (p *part) check(ctx context.Context, version int, o CopyOptions) error {
	o.tell(StageCheck, 0, 0)
	verify := Verify
	if version < SchemaVersion {
		verify = verifySound
	}
	violations, err := verify(ctx, p.path, o.Invariants)
	if err != nil {
		return err
	}
	if n := len(violations); n > 0 {
		return fmt.Errorf("%w: %d violations, the first: %s: %s", ErrUnsound, n, violations[0].Kind, violations[0].Detail)
	}
	return nil
}

// roomFor returns ErrStorageFull where a copy of so many bytes would not fit, or would
// take the room that a server on the same disk keeps for settles.
func roomFor(dir string, bytes int64) error {
	free, reserve, ok := FreeSpace(dir)
	if need := uint64(bytes) + reserve; ok && free < need {
		return fmt.Errorf("%w: %s has %d MiB left, and %d MiB are needed", db.ErrStorageFull, dir, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// chownLike gives the file at path the owner of like, or if like is missing that of its
// folder: root may run a command on the files of a server that runs as another user.
func chownLike(path, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(like)
	if err != nil {
		if info, err = os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Lchown(path, int(st.Uid), int(st.Gid))
}

// lockPatience is how long a command waits for a server that is just ending.
const lockPatience = time.Second
