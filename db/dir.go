package db

import (
	"errors"
	"fmt"
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

// resolve follows links, as SQLite does, so that everyone who opens the file by
// any of its names takes the same lock.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		return filepath.Join(dir, filepath.Base(path)), err
	}
	return real, err
}

// place remembers which file stands at a path. A database that was removed or
// replaced while it is open goes on to take writes that nobody will find again.
type place struct {
	path string // "" in memory
	file fs.FileInfo
}

func newPlace(path string) (place, error) {
	if path == "" {
		return place{}, nil
	}
	file, err := os.Stat(path)
	return place{path, file}, err
}

func (p place) check() error {
	if p.path == "" {
		return nil
	}
	now, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, p.file) {
		return fmt.Errorf("the file %s was moved, removed or replaced while it was open", p.path)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
