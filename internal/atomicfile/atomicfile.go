// Package atomicfile writes files that are there as a whole or not at all, also after
// a power cut. A file gets its name once its content is on the disk, and its folder is
// synced after that. It is not google/renameio because that always replaces what has
// the name, and doesn't sync the folder.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file that has a temporary name in the folder of its future one. Create
// makes it; Commit, CommitNew or Discard ends it.
type File struct {
	*os.File
	path string
}

// maxName is how long a name may be in most file systems, in bytes.
const maxName = 255

// Create makes a file that is to be called path, with mode before umask.
func Create(path string, mode fs.FileMode) (*File, error) {
	dir, base := filepath.Split(path)
	// 130 random bits: an existing name is not met. It may be as long as names can be.
	temporary := dir + "." + base[:min(len(base), maxName-len("..")-26)] + "." + rand.Text()
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		if p, ok := errors.AsType[*fs.PathError](err); ok {
			p.Path = path // what the caller knows
		}
		return nil, err
	}
	return &File{f, path}, nil
}

// Commit gives the file its name and replaces what has it.
func (f *File) Commit() error { return f.commit(os.Rename) }

// CommitNew gives the file its name. It returns fs.ErrExist where something has that
// name: of several processes one succeeds.
func (f *File) CommitNew() error {
	return f.commit(placeNew)
}

func placeNew(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err // Discard removes from
	}
	// A file system without hard links, such as FAT. An empty file holds the name for
	// the moment until the rename.
	claim, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(claim.Close(), os.Rename(from, to))
}

func (f *File) commit(place func(from, to string) error) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := place(f.Name(), f.path); err != nil {
		return err
	}
	f.Discard() // the temporary name, where it is a second one
	return SyncFolder(filepath.Dir(f.path))
}

// Discard removes the file unless it was committed. It may be called at any time.
func (f *File) Discard() {
	f.Close()
	os.Remove(f.Name()) // a name that is never met again
}

// Write makes or replaces the file at path, with exactly mode.
func Write(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, (*File).Commit)
}

// WriteNew is Write for a name that is free, else it returns fs.ErrExist.
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, (*File).CommitNew)
}

func write(path string, data []byte, mode fs.FileMode, commit func(*File) error) error {
	f, err := Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return commit(f)
}

// MakeFolder makes the folder dir and those above it that are missing, with mode 0700,
// and syncs their names. A folder that is there is not changed.
func MakeFolder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MakeFolder(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if info, serr := os.Stat(dir); errors.Is(err, fs.ErrExist) && serr == nil && info.IsDir() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return SyncFolder(filepath.Dir(dir))
}

// SyncFolder makes the names in a folder survive a power cut.
func SyncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
