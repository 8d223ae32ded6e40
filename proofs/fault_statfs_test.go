package proofs

import (
	"syscall"
	"testing"
)

// room is what a file system has, in bytes.
type room struct{ size, free int64 }

func statfs(t testing.TB, dir string) room {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return room{int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize)}
}
