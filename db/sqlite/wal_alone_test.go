package sqlite

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"inturn/db/sqlite/file"
)

// A WAL whose database was emptied or removed has what was answered: nothing that opens
// the file lets SQLite remove it, and a restore keeps it.
func TestWALAlone(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	if err := file.Backup(t.Context(), d.path, d.path+".backup", file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	appendEvent(t, d, event("a", "1"))
	log, err := os.ReadFile(d.path + "-wal") // as a process that is killed leaves it
	if err != nil {
		t.Fatal(err)
	}
	for name, prepare := range map[string]func(path string) error{
		"emptied": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"removed": func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "inturn.db")
			if err := errors.Join(prepare(path), os.WriteFile(path+"-wal", log, 0o600)); err != nil {
				t.Fatal(err)
			}
			for what, use := range map[string]func() error{
				"Open": func() error {
					d, err := Open(t.Context(), options(t, path))
					if err == nil {
						d.Close()
					}
					return err
				},
				"OpenReadOnly": func() error {
					pool, err := file.OpenReadOnly(t.Context(), path)
					if err == nil {
						pool.Close()
					}
					return err
				},
				"Verify":  func() error { _, err := file.Verify(t.Context(), path, nil); return err },
				"Backup":  func() error { return file.Backup(t.Context(), path, path+".copy", file.CopyOptions{}) },
				"Compact": func() error { _, _, err := file.Compact(t.Context(), path, file.CopyOptions{}); return err },
				"Restore from it": func() error {
					_, err := file.Restore(t.Context(), path, path+".new", file.CopyOptions{})
					return err
				},
			} {
				err := use()
				if (name == "emptied" || what == "Open") && !errors.Is(err, file.ErrWALAlone) || err == nil {
					t.Errorf("%s: %v", what, err)
				}
				if now, err := os.ReadFile(path + "-wal"); err != nil || !bytes.Equal(now, log) {
					t.Fatalf("%s: the WAL has %d bytes, %v, of %d", what, len(now), err, len(log))
				}
			}
			kept, err := file.Restore(t.Context(), d.path+".backup", path, file.CopyOptions{Force: true})
			if err != nil {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(kept + "-wal"); err != nil || !bytes.Equal(now, log) {
				t.Errorf("the WAL that is kept has %d bytes, %v, of %d", len(now), err, len(log))
			}
			wantSound(t, path)
		})
	}
}
