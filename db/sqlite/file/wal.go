package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrWALAlone: a WAL stands beside a database file that is empty or not there.
var ErrWALAlone = errors.New("its write-ahead log is there without it, and may have events that were answered")

// CheckWAL returns ErrWALAlone if there is a WAL and nothing that it belongs to: SQLite
// would remove it when it opens the file, also for reading. It is to be called before.
func CheckWAL(path string) error {
	if Size(path) == 0 && Size(path+"-wal") > 0 {
		return fmt.Errorf("the database file is empty or not there: %w: %s-wal", ErrWALAlone, path)
	}
	return nil
}

// RewriteWAL writes the content of the WAL over itself, so that the next sync covers it
// whatever happened before: after a sync that failed, the kernel goes on showing bytes
// that it will never write, and no later sync reports an error (fsync(2)).
// The last owner ended because of such an error; what it left must not be answered
// from, nor checkpointed, before it is on the disk. The caller holds SQLite's write
// lock, so that nobody else changes the WAL.
func RewriteWAL(path string) (err error) {
	f, err := os.OpenFile(path+"-wal", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return nil
		}
		if _, err := f.WriteAt(buf[:n], at); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		at += int64(n)
	}
}
