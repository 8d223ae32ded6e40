package sqlite

import (
	"path/filepath"
	"testing"

	"inturn/internal/faultvfs"
)

// An append alone is one write and one sync of the WAL.
func TestAppendIsOneWrite(t *testing.T) {
	path := tempFile(t)
	v, stop, err := faultvfs.Watch(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	d := open(t, options(t, path))
	appendEvent(t, d, event("c", "m0"))
	writes, syncs := v.Count(faultvfs.Write, faultvfs.WAL), v.Count(faultvfs.Sync, faultvfs.WAL)
	appendEvent(t, d, event("c", "m1"))
	if n := v.Count(faultvfs.Write, faultvfs.WAL) - writes; n != 1 {
		t.Errorf("it takes %d writes", n)
	}
	if n := v.Count(faultvfs.Sync, faultvfs.WAL) - syncs; n != 1 {
		t.Errorf("it takes %d syncs", n)
	}
}
