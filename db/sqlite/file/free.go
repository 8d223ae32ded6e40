package file

import "syscall"

// How much room is kept: a share of the disk, but at least what one group of appends at
// its bound takes in the WAL and once more when the WAL is moved into the file, with what
// is flushed behind it; and of a small disk not more than a quarter.
const (
	reserveShare    = 20
	reserveAtLeast  = 32 << 20
	reserveAtMost   = 64 << 20
	reserveOfASmall = 4
)

func reserveOf(disk uint64) uint64 {
	return min(max(disk/reserveShare, reserveAtLeast), reserveAtMost, disk/reserveOfASmall)
}

// FreeSpace returns the bytes that are left on dir's disk, and how many bytes are kept for
// settles. ok is false where the system doesn't say.
func FreeSpace(dir string) (free, reserve uint64, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, false
	}
	size := uint64(st.Bsize)
	return uint64(st.Bavail) * size, reserveOf(st.Blocks * size), true
}
