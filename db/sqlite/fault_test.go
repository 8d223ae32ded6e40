package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"inturn/db/sqlite/file"
	"inturn/internal/faultvfs"
)

// TestMigrationFaults: where the copy before a migration can't be written, or the
// migration itself, the file stays as it was, nothing half is taken for a copy, and
// the next start does it all.
func TestMigrationFaults(t *testing.T) {
	step := next("ALTER TABLE accounts ADD COLUMN later INTEGER NOT NULL DEFAULT 0")
	for name, fault := range map[string]faultvfs.Fault{
		"copy, ENOSPC on write":      {Op: faultvfs.Write, Suffix: ".part", Errno: syscall.ENOSPC},
		"copy, EDQUOT on write":      {Op: faultvfs.Write, Suffix: ".part", Errno: syscall.EDQUOT},
		"copy, EIO on write":         {Op: faultvfs.Write, Suffix: ".part", Errno: syscall.EIO},
		"copy, EIO on a later write": {Op: faultvfs.Write, Suffix: ".part", Errno: syscall.EIO, After: 5},
		"copy, EIO on opening":       {Op: faultvfs.Open, Suffix: ".part", Errno: syscall.EIO},
		"step, ENOSPC on write":      {Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.ENOSPC},
		"step, EDQUOT on write":      {Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.EDQUOT},
		"step, EIO on write":         {Op: faultvfs.Write, Kind: faultvfs.WAL, Errno: syscall.EIO},
		"step, EIO on fsync":         {Op: faultvfs.Sync, Kind: faultvfs.WAL, Errno: syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := made(t)
			w, stop, err := faultvfs.Watch(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stop)
			d := open(t, options(t, path))
			w.Inject(fault)
			if err := d.w.migrator().migrate(path, file.SchemaVersion, step); err == nil {
				t.Error("it migrates")
			}
			if w.Clear() == 0 {
				t.Error("the fault was never met")
			}
			if _, err := os.Stat(copyOf(path)); fault.Suffix != "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a copy that is not whole got its name (%v)", err)
			}
			wantRows(t, d, "SELECT user_version FROM pragma_user_version", fmt.Sprint(file.SchemaVersion))
			d.Close()
			wantSound(t, path)

			d = open(t, options(t, path))
			if err := d.w.migrator().migrate(path, file.SchemaVersion, step); err != nil {
				t.Fatal(err)
			}
			wantRows(t, d, "SELECT client_id, later, (SELECT user_version FROM pragma_user_version) FROM accounts", fmt.Sprintf("c 0 %d", file.SchemaVersion+1))
			d.Close()
			wantSound(t, copyOf(path)) // the file itself is a newer binary's by now
		})
	}
}
