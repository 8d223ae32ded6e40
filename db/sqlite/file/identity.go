package file

import (
	"io/fs"
	"syscall"
)

// identity says which file a name leads to, and what of it Place watches.
type identity struct {
	dev, ino uint64
	links    uint64
	size     int64
}

// same reports whether both are of one file.
func (i identity) same(other identity) bool { return i.dev == other.dev && i.ino == other.ino }

func identityOf(info fs.FileInfo) identity {
	id := identity{links: 1, size: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino, id.links = uint64(st.Dev), st.Ino, uint64(st.Nlink)
	}
	return id
}
