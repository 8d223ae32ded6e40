package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MakeDirs makes dir and its missing parents, readable by this user only, and syncs the
// folders above: without that a power cut can take the folder, and every acknowledged
// event with it. Folders that exist are synced as well, because the process that made one
// may have been killed before it synced.
func MakeDirs(dir string) error {
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if _, err := os.Stat(dir); err == nil {
		if err := MakeDirs(parent); err != nil {
			return err
		}
		return syncFound(parent)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := MakeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// Create makes an empty file that only this user can read, if it is not there,
// and syncs its entry in any case.
// It must not be called for a file that SQLite has open: closing it would drop
// SQLite's locks (https://www.sqlite.org/howtocorrupt.html, section 2.2).
func Create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return syncFound(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// syncFound syncs a folder that was there before. One that can't be opened or synced
// by this user or on this file system was not made by us in this way.
func syncFound(dir string) error {
	err := SyncDir(dir)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}

// CheckRegular returns an error if something that is no regular file has the name. It
// doesn't open it.
func CheckRegular(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	}
	return nil
}

// Resolve follows links, as SQLite does, so that the lock of a file is the same by
// whichever name it is opened.
func Resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		return filepath.Join(dir, filepath.Base(path)), err
	}
	return real, err
}

func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Size returns the length of the file at path in bytes, 0 if it is not there.
func Size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
