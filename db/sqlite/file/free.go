package file

import "syscall"

// How much room is kept for settles: the smaller of both.
const (
	spaceReserve      = 64 << 20
	spaceReserveShare = 20 // a twentieth of the disk
)

// FreeSpace returns the bytes that are left on dir's disk, and how many bytes are kept for
// settles. ok is false where the system doesn't say.
func FreeSpace(dir string) (free, reserve uint64, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, false
	}
	size := uint64(st.Bsize)
	return uint64(st.Bavail) * size, min(uint64(spaceReserve), st.Blocks*size/spaceReserveShare), true
}
