package file

import (
	"os"
	"syscall"
)

// ofdGetLock asks for locks that conflict with one of the open file description, as do
// those of this process (F_OFD_GETLK, fcntl(2)).
const ofdGetLock = 36

// keepRoom makes file so long, with blocks of the disk behind all of it (fallocate(2)).
func keepRoom(file *os.File, length int64) error {
	return syscall.Fallocate(int(file.Fd()), 0, 0, length)
}

// marked reports whether some process, which is this one once mark has succeeded, has the
// mark of a file. Where the kernel can't say, it is taken to be there.
func marked(file *os.File) bool {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: markByte, Len: 1}
	return syscall.FcntlFlock(file.Fd(), ofdGetLock, &lock) != nil || lock.Type != syscall.F_UNLCK
}
