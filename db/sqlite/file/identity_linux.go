package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// identify returns the identity of the file at path, without its times: of a file whose
// times were asked for Linux notes the next write's time exactly (multigrain timestamps,
// 6.13), so that each fsync of a WAL would also have to commit the file system's journal.
func identify(path string) (identity, error) {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_NLINK|unix.STATX_SIZE, &st) == nil {
		return identity{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino, uint64(st.Nlink), int64(st.Size)}, nil
	}
	info, err := os.Stat(path) // also where statx is not there, or not allowed
	if err != nil {
		return identity{}, err
	}
	return identityOf(info), nil
}
