package file

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Backup writes a copy of the database at path to the file to: everything that was
// answered before Backup was called is in it, also while a server writes. The copy
// gets its name once it is complete, synced and checked; until then it stands beside,
// as to.inturn.part. It is a single file that only this user can read, without a WAL.
//
// Errors: ErrExists without o.Force; ErrForeign, ErrNewer; ErrStorageFull; ErrUnsound;
// or ctx's. After an error nothing is called to that was not before.
func Backup(ctx context.Context, path, to string, o CopyOptions) error {
	if err := backup(ctx, path, to, o); err != nil {
		return fmt.Errorf("backup %s: %w", path, err)
	}
	return nil
}

func backup(ctx context.Context, path, to string, o CopyOptions) error {
	path, to, err := distinctPaths(path, to)
	if err != nil {
		return err
	}
	if !o.Force {
		if err := mustNotExist(to); err != nil {
			return err
		}
	} else if err := checkUnused(to); err != nil {
		return err
	}
	p, err := copied(ctx, path, to, o)
	if err != nil {
		return err
	}
	defer p.discard()
	if o.Force {
		return p.rename(to)
	}
	return p.link(to)
}

// copied makes the copy of path that is to be called to, synced and checked.
func copied(ctx context.Context, path, to string, o CopyOptions) (*part, error) {
	p, err := newPart(to)
	if err != nil {
		return nil, err
	}
	version, err := p.fill(ctx, path, o)
	if err == nil {
		err = p.seal(0, "")
	}
	if err == nil {
		err = p.sync()
	}
	if err == nil {
		err = p.check(ctx, version, o)
	}
	if err != nil {
		p.discard()
		return nil, err
	}
	return p, nil
}

// BackupTo is Backup to a stream: the copy is made and checked in the folder dir
// before the first byte of it is written to w.
func BackupTo(ctx context.Context, path, dir string, w io.Writer, o CopyOptions) error {
	if err := backupTo(ctx, path, dir, w, o); err != nil {
		return fmt.Errorf("backup %s: %w", path, err)
	}
	return nil
}

func backupTo(ctx context.Context, path, dir string, w io.Writer, o CopyOptions) error {
	removeLeftFolders(dir)
	dir, err := os.MkdirTemp(dir, backupFolder)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := copied(ctx, path, filepath.Join(dir, "copy"), o)
	if err != nil {
		return err
	}
	defer p.discard()
	// Nothing has a name any more when the first byte is written: a reader that breaks
	// off ends the process by SIGPIPE.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	_, err = io.Copy(w, p.file)
	return err
}

// backupFolder is how the names of BackupTo's folders begin.
const backupFolder = "inturn-backup-"

// leftAfter is how old a folder without a copy must be to be taken for a left-over: its
// maker puts a copy there at once.
const leftAfter = time.Minute

// removeLeftFolders removes the folders of BackupTo in dir whose process was killed.
func removeLeftFolders(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), backupFolder) {
			continue
		}
		folder := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if old := err == nil && time.Since(info.ModTime()) > leftAfter; removeLeftParts(folder) || old {
			os.Remove(folder) // which fails unless it is empty
		}
	}
}

// distinctPaths returns both paths in full, and an error where they are one database's.
func distinctPaths(path, to string) (string, string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = Resolve(path)
	}
	if err != nil {
		return "", "", err
	}
	if to, err = filepath.Abs(to); err != nil {
		return "", "", err
	}
	there, err := os.Stat(to)
	if err != nil { // it isn't there; or it can't be looked at, which making it will tell
		there = nil
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", ".lock"} {
		if to == path+suffix {
			return "", "", fmt.Errorf("%s is the database's own file", to)
		}
		if own, err := os.Stat(path + suffix); err == nil && there != nil && os.SameFile(own, there) {
			return "", "", fmt.Errorf("%s is the database's own file", to)
		}
	}
	return path, to, nil
}

// checkUnused returns ErrInUse if a process owns the database at path.
func checkUnused(path string) error {
	f, err := os.OpenFile(path+".lock", os.O_RDWR, 0)
	if err != nil { // nobody ever owned it; or it is not ours to look at, nor to replace
		return nil
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		holder, _ := readBeat(path + ".lock")
		return fmt.Errorf("%s: %w: %s", path, ErrInUse, holder)
	}
	return nil
}
