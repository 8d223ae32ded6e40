package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"inturn/db"
	"inturn/db/dbtest"
	"inturn/db/sqlite"
	"inturn/db/sqlite/file"
)

func TestConformanceInMemory(t *testing.T) {
	dbtest.Exercise(t, func(testing.TB, string) dbtest.Database { return inMemory{} })
}

func TestConformanceOnAFile(t *testing.T) {
	dbtest.Exercise(t, func(_ testing.TB, dir string) dbtest.Database {
		return &onAFile{dir: dir, path: filepath.Join(dir, "inturn.db"), copies: &atomic.Int64{}}
	})
}

type inMemory struct{}

func (inMemory) Open(ctx context.Context, o dbtest.Options) (dbtest.Engine, error) {
	return open(ctx, ":memory:", o)
}

func (inMemory) Check(context.Context) ([]db.Violation, error) { return nil, nil }

// onAFile is a file in a folder, in which the copies after crashes are too.
type onAFile struct {
	dir, path string
	copies    *atomic.Int64
}

func (f *onAFile) Open(ctx context.Context, o dbtest.Options) (dbtest.Engine, error) {
	return open(ctx, f.path, o)
}

func (f *onAFile) Check(ctx context.Context) ([]db.Violation, error) {
	return file.Verify(ctx, f.path, nil)
}

// Crash copies the files while nobody writes: either because nobody does, or because the
// committer is who calls. The -shm is left out: its owner is gone, and SQLite makes it
// anew. (Opening the files drops SQLite's own locks on them, which doesn't matter: the
// engine's files are not looked at any more.)
func (f *onAFile) Crash() (dbtest.Durable, error) {
	left := &onAFile{dir: f.dir, path: filepath.Join(f.dir, fmt.Sprint(f.copies.Add(1)), "inturn.db"), copies: f.copies}
	if err := os.MkdirAll(filepath.Dir(left.path), 0o700); err != nil {
		return nil, err
	}
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(f.path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(left.path+suffix, b, 0o600); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// Steal does what a take-over commits first.
func (f *onAFile) Steal(ctx context.Context) error {
	pool, err := sql.Open("sqlite", "file:"+f.path+"?_busy_timeout=10000")
	if err != nil {
		return err
	}
	_, err = pool.ExecContext(ctx, "UPDATE owner SET epoch = epoch + 1")
	return errors.Join(err, pool.Close())
}

func open(ctx context.Context, path string, o dbtest.Options) (dbtest.Engine, error) {
	d, err := sqlite.Open(ctx, sqlite.Options{
		Path: path, Tables: o.Tables, Erasures: o.Erasures, Check: o.Check, Log: o.Log,
		MaxPending: o.MaxPending, MaxAccountPending: o.MaxAccountPending, FlushBatch: o.Batch,
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}
