package db

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeDirs makes dir and what is missing above it, readable by this user only, and
// syncs each folder that got a new entry: without that a power cut can take the
// folder, and every acknowledged event with it.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// createFile makes an empty file that only this user can read, and syncs its entry.
// It must not be called for a file that SQLite has open: closing it would drop
// SQLite's locks (https://www.sqlite.org/howtocorrupt.html, section 2.2).
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
