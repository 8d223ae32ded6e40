package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// readings are the ways to read a file without owning it.
var readings = map[string]func(ctx context.Context, path string) error{
	"query": func(ctx context.Context, path string) error {
		handle, err := file.OpenReadOnly(ctx, path)
		if err != nil {
			return err
		}
		return handle.Close()
	},
	"check": func(ctx context.Context, path string) error {
		_, err := file.Verify(ctx, path, []db.Invariant{noteInvariant})
		return err
	},
	"backup": func(ctx context.Context, path string) error {
		to := filepath.Join(os.TempDir(), filepath.Base(filepath.Dir(path))+".copy")
		defer os.Remove(to)
		return file.Backup(ctx, path, to, file.CopyOptions{Force: true})
	},
}

// What reads a file that nobody has leaves nothing beside it, and takes nothing from a
// server's.
func TestReadingLeavesNothing(t *testing.T) {
	for name, read := range readings {
		t.Run(name, func(t *testing.T) {
			path := tempFile(t)
			d := open(t, options(t, path))
			appendEvent(t, d, event("a", "1"))
			if err := read(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			appendEvent(t, d, event("a", "2"))
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := read(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			if left, err := filepath.Glob(path + "-*"); err != nil || len(left) > 0 {
				t.Errorf("it has left %q, %v", left, err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the file has changed, %v", err)
			}
		})
	}
}

// A second name has no WAL, or another one: what was answered would not be seen there.
func TestReadersOfASecondName(t *testing.T) {
	for name, read := range readings {
		t.Run(name, func(t *testing.T) {
			path := tempFile(t)
			d := open(t, options(t, path))
			appendEvent(t, d, event("a", "1"))
			other := path + ".link"
			if err := os.Link(path, other); err != nil {
				t.Fatal(err)
			}
			if _, ok := errors.AsType[*file.LinksError](read(t.Context(), other)); !ok {
				t.Error("the second name is read")
			}
			if err := read(t.Context(), path); err != nil {
				t.Errorf("the name that the server has: %v", err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
