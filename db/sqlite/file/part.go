package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// part is a copy that is not finished. It stands beside its future place under a name of
// its own, and its maker holds a flock on it. What a killed process left is removed by the
// next copy into that folder.
type part struct {
	path string
	file *os.File // for the lock alone: SQLite writes the file
}

// partSuffix is no other program's, so that what has it may be removed.
const partSuffix = ".inturn.part"

// partTries bounds how often a part is made that another process takes for a left-over
// before it is locked.
const partTries = 10

// newPart makes the file for a copy that is to be called path. Only this user can read it.
func newPart(path string) (*part, error) {
	removeLeftParts(filepath.Dir(path))
	p := &part{path: path + partSuffix}
	for try := 1; ; try++ {
		err := p.create()
		if errors.Is(err, fs.ErrExist) && try < partTries {
			continue // removed by the next process' look for left-overs, or about to be
		}
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s: another process writes it, or another user has left it", p.path)
		}
		if err != nil {
			return nil, err
		}
		return p, nil
	}
}

// create makes and locks the file. It returns fs.ErrExist if another process has it.
func (p *part) create() error {
	f, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := lockPart(f); err != nil {
		f.Close()
		return err
	}
	p.file = f
	if err := errors.Join(f.Chmod(0o600), RemoveAll(besidePart(p.path)...)); err != nil {
		p.discard()
		return err
	}
	return nil
}

// lockPart takes the flock of a part. It returns fs.ErrExist if another process has it, or
// has removed the file.
func lockPart(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fs.ErrExist
	}
	if err != nil {
		return err
	}
	ours, err := f.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Lstat(f.Name()); err != nil || !os.SameFile(ours, there) {
		return fs.ErrExist
	}
	return nil
}

// removeLeftParts removes the parts in dir that no process has, and reports whether there
// were any. What can't be removed stays: it costs room, and nothing else.
func removeLeftParts(dir string) (found bool) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), partSuffix) && removeLeft(filepath.Join(dir, e.Name())) {
			found = true
		}
	}
	return found
}

// removeLeft removes a part unless a process has it.
func removeLeft(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return lockPart(f) == nil && RemoveAll(append(besidePart(path), path)...) == nil
}

// besidePart returns the files that SQLite may have made beside a part.
func besidePart(path string) []string {
	return []string{path + "-journal", path + "-wal", path + "-shm"}
}

// discard removes the copy, unless it has got its name.
func (p *part) discard() {
	if p.path != "" {
		_ = RemoveAll(append(besidePart(p.path), p.path)...) // the next copy tries again
	}
	p.file.Close()
}
