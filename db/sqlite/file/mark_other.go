//go:build !linux

package file

import (
	"errors"
	"os"
)

// marked would report whether this process still has the mark of a file; only Linux can
// be asked.
func marked(*os.File) bool { return true }

// keepRoom would make file so long, with blocks behind all of it.
func keepRoom(*os.File, int64) error { return errors.ErrUnsupported }
