package tls

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile bounds what is read, in bytes; a CA has about 1 KiB.
const maxFile = 64 << 10

// makePrivateFolder makes dir with mode 0700, and what is missing above it. One
// that exists is never changed (it might be anything), but refused if other users
// can write to it: they could put their own CA there.
func makePrivateFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(dir)
		if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
			if err := makePrivateFolder(parent); err != nil {
				return err
			}
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make folder: %w", err)
		}
		return syncFolder(parent)
	case err != nil:
		return fmt.Errorf("folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder; move it away or name another", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("other users can write to the folder %s (mode %#o); chmod 700 it, or name another", dir, info.Mode().Perm())
	}
	return nil
}

// readPrivateFile refuses a file that other users can read instead of tightening
// it: what the mode was, somebody may have read already, and only a person can
// judge whether the key is still a secret.
func readPrivateFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("other users can read the key %s (mode %#o); chmod 600 it if none of them did, or move it away for a new CA, whose ca.pem clients then need", name, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}

// readBounded reads a file that another program wrote.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err // names the file
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d KiB", name, maxFile>>10)
	}
	return data, nil
}

// createFile writes a new file with mode 0600 that is there as a whole or not at
// all, also after a power cut. Of several processes one succeeds, the others get
// fs.ErrExist.
func createFile(name string, data []byte) error {
	return writeFile(name, data, 0o600, os.Link)
}

// replaceFile is createFile for a name that may be taken.
func replaceFile(name string, data []byte, mode fs.FileMode) error {
	return writeFile(name, data, mode, os.Rename)
}

func writeFile(name string, data []byte, mode fs.FileMode, place func(from, to string) error) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := place(f.Name(), name); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return syncFolder(dir)
}

// syncFolder makes the names in a folder survive a power cut.
func syncFolder(dir string) error {
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
