package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"inturn/internal/atomicfile"
)

// streamTo returns a writer for a path that names no ordinary file: out for "-" and
// /dev/stdout, else what is opened there, such as a pipe. For an ordinary file, or none,
// it returns nil.
func streamTo(path string, out io.Writer) (io.WriteCloser, error) {
	switch path {
	case "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		if f, ok := out.(*os.File); ok && isSQLite(fmt.Sprintf("/dev/fd/%d", f.Fd())) {
			return nil, errIsDatabase("standard output")
		}
		return nopCloser{out}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil // the folder may be wrong: making the file tells
	}
	mode := info.Mode()
	switch {
	case mode.IsDir():
		return nil, &Hint{Err: fmt.Errorf("%s: is a folder", path), Hint: "name a file in it"}
	case mode.IsRegular() && !isDescriptor(path):
		return nil, nil
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		return nil, &Hint{Err: fmt.Errorf("%s: is a disk", path), Hint: "name a file"}
	case isSQLite(path):
		return nil, errIsDatabase(path)
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
}

// isDescriptor reports whether path names what the process has open already.
func isDescriptor(path string) bool {
	dir := filepath.Dir(path)
	return dir == "/dev/fd" || dir == "/proc/self/fd" || path == "/dev/stderr"
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// createOutput makes the file that a command writes. It gets its name at Commit
// (with force) or CommitNew. What is there is refused without force, and a database is
// refused always.
func createOutput(path string, force bool) (*atomicfile.File, error) {
	if err := notDatabase(path); err != nil {
		return nil, err
	}
	if !force {
		if _, err := os.Lstat(path); err == nil {
			return nil, errOutputExists(path)
		}
	} else if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // what a link names is replaced, not the link
	}
	f, err := atomicfile.Create(path, 0o666)
	return f, explainFolder(path, err)
}

// explainFolder says of an error to make a file that its folder isn't there.
func explainFolder(path string, err error) error {
	dir := filepath.Dir(path)
	if _, serr := os.Stat(dir); err != nil && errors.Is(serr, fs.ErrNotExist) {
		return &Hint{Err: fmt.Errorf("%s: there is no folder %s", path, dir), Hint: "make it first: mkdir -p " + quoted(dir)}
	}
	return err
}

// commitOutput gives the file its name.
func commitOutput(f *atomicfile.File, path string, force bool) error {
	if force {
		return f.Commit()
	}
	err := f.CommitNew()
	if errors.Is(err, fs.ErrExist) { // made by another process in the meantime
		return errOutputExists(path)
	}
	return err
}

func errOutputExists(path string) error {
	return &Hint{Err: fmt.Errorf("%s: there is a file of this name", path), Hint: "choose another name, or replace it with --force"}
}

func errIsDatabase(path string) error {
	return &Hint{Err: fmt.Errorf("%s: is a database", path), Hint: "nothing writes over a database, not even with --force: choose another name"}
}

// ownSuffixes are those of the files that stand beside a database and belong to it.
var ownSuffixes = []string{"-wal", "-shm", "-journal", ".lock", ".inturn.part", ".restoring"}

// sqliteHeaders are how files of SQLite begin (https://sqlite.org/fileformat2.html: the
// database, 1.3; the journal, 3; the WAL in both byte orders, 4.1. The index of a WAL,
// https://sqlite.org/walformat.html 2.1, begins with its version, in the machine's byte
// order).
var sqliteHeaders = [][]byte{
	[]byte("SQLite format 3\x00"),
	{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7},
	{0x37, 0x7f, 0x06, 0x82}, {0x37, 0x7f, 0x06, 0x83},
	{0x18, 0xe2, 0x2d, 0x00, 0, 0, 0, 0}, {0x00, 0x2d, 0xe2, 0x18, 0, 0, 0, 0},
}

// notDatabase returns an error if path names a file of a database, also by a link, or a
// file that would belong to one.
//
// It opens and closes the file, which would drop the locks that SQLite holds on it in
// this process: it is called before anything is opened there
// (https://sqlite.org/howtocorrupt.html, 2.2).
func notDatabase(path string) error {
	if isSQLite(path) {
		return errIsDatabase(path)
	}
	if beside := besideIt(path); beside != "" {
		return &Hint{Err: fmt.Errorf("%s: is kept by a program: %s stands beside it", path, beside), Hint: "choose another name"}
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path // it isn't there yet
	}
	for _, suffix := range ownSuffixes {
		if of, ok := strings.CutSuffix(real, suffix); ok && (isSQLite(of) || besideIt(of) != "") {
			return &Hint{Err: fmt.Errorf("%s: belongs to the database %s", path, of), Hint: "choose another name"}
		}
	}
	return nil
}

func isSQLite(path string) bool {
	head := header(path)
	return slices.ContainsFunc(sqliteHeaders, func(want []byte) bool { return bytes.HasPrefix(head, want) })
}

// isBackup reports whether path is a database of inturn's outside of WAL mode, as only
// its copies are (https://sqlite.org/fileformat2.html, 1.3).
func isBackup(path string) bool {
	head := header(path)
	return len(head) == headerSize && bytes.HasPrefix(head, sqliteHeaders[0]) &&
		head[18] == 1 && head[19] == 1 && string(head[68:72]) == "intu"
}

const headerSize = 100

// header returns how the file begins; nothing if it isn't an ordinary file that can be read.
func header(path string) []byte {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, headerSize)
	n, _ := io.ReadFull(f, head) // a shorter one is looked at as far as it goes
	return head[:n]
}

// besideIt returns the file beside path that shows that path is a database, which its
// header doesn't show if it is new or damaged; "" for none.
func besideIt(path string) string {
	for _, suffix := range []string{"-wal", "-journal", ".lock", ".restoring"} {
		if info, err := os.Lstat(path + suffix); err == nil && info.Mode().IsRegular() {
			return path + suffix
		}
	}
	return ""
}
