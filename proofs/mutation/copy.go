package main

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// copied is a copy of the tree. Its folder has the same name each time, so that go finds
// again what it has compiled there.
type copied struct {
	dir  string
	lock *os.File
}

// copyTree copies the tree at root, without .git and data, to a folder that no other run
// uses now.
func copyTree(root string) (*copied, error) {
	h := fnv.New32a()
	h.Write([]byte(root))
	for slot := range 64 {
		dir := filepath.Join(os.TempDir(), fmt.Sprintf("inturn-mutation-%d-%08x-%d", os.Getuid(), h.Sum32(), slot))
		lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		c := &copied{dir, lock}
		if err := c.fill(root); err != nil {
			c.close()
			return nil, err
		}
		return c, nil
	}
	return nil, fmt.Errorf("64 runs have a copy of %s already", root)
}

func (c *copied) fill(root string) error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	return fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		from, to := filepath.Join(root, p), filepath.Join(c.dir, p)
		switch {
		case err != nil || p == ".":
			return err
		case p == ".git" || p == "data":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.Mkdir(to, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, info.Mode().Perm())
	})
}

// close removes the copy; the next run may have its name.
func (c *copied) close() {
	_ = os.RemoveAll(c.dir)
	_ = c.lock.Close()
}

// write puts files into the copy.
func (c *copied) write(files map[string][]byte) error {
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(c.dir, filepath.FromSlash(file)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// own returns what the tree itself has in place of files.
func (t *tree) own(files map[string][]byte) map[string][]byte {
	own := map[string][]byte{}
	for file := range files {
		own[file] = t.files[file].text
	}
	return own
}
