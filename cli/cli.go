// Package cli holds the bodies of the commands that are not `serve`. Each command
// is a struct with kong's tags and a Run method, whose parameters package serve binds.
package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/term"
)

// IO is where a command writes: data to Out, progress to Err.
type IO struct{ Out, Err io.Writer }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// existingFile returns an error with a hint unless path names a regular file. It doesn't
// open the file: opening a live database file and closing it again would drop the locks
// that SQLite holds in this process (https://sqlite.org/howtocorrupt.html, 2.2).
func existingFile(path string) error {
	if IsPostgres(path) {
		return notAFile(path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Hint{
			Err:  fmt.Errorf("%s: there is no such file", path),
			Hint: "name the database with --db or INTURN_DB; `inturn serve` makes it",
		}
	case errors.Is(err, syscall.ENOTDIR):
		return &Hint{Err: err, Hint: "a part of the path is no folder: name the database file with --db or INTURN_DB"}
	case err != nil:
		return &Hint{Err: err, Hint: "the file and its folder must be readable for this user"}
	case !info.Mode().IsRegular():
		return &Hint{
			Err:  fmt.Errorf("%s: is not a regular file", path),
			Hint: "name the database file itself with --db or INTURN_DB",
		}
	}
	return nil
}
