package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// names lists a folder.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
}

// filled has settled, pending and held events in it, and is open.
func filled(t *testing.T) *DB {
	t.Helper()
	d := open(t, options(t, tempFile(t)))
	for n := range 20 {
		ev := appendEvent(t, d, event(fmt.Sprint("c", n%3), fmt.Sprint(n)))
		if n < 6 {
			settle(t, d, done(ev, note(ev.MessageID)))
		}
	}
	return d
}

func TestBackup(t *testing.T) {
	d, dir := filled(t), t.TempDir()
	to := filepath.Join(dir, "copy.db")
	if err := file.Backup(t.Context(), d.path, to, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "copy.db")
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	wantSound(t, to)
	wantNames(t, dir, "copy.db") // it needs nothing beside it to be read
	pending := rows(t, d, "SELECT client_id, turn, seq, run FROM pending")

	// The one there is kept, but for Force.
	appendEvent(t, d, event("later", "1"))
	if err := file.Backup(t.Context(), d.path, to, file.CopyOptions{}); !errors.Is(err, file.ErrExists) {
		t.Errorf("over a file that is there: %v", err)
	}
	c := open(t, options(t, to))
	if got := rows(t, c, "SELECT client_id, turn, seq, run FROM pending"); !slices.Equal(got, pending) {
		t.Errorf("the copy has %q pending, want %q", got, pending)
	}
	if err := file.Backup(t.Context(), d.path, to, file.CopyOptions{Force: true}); !errors.Is(err, file.ErrInUse) {
		t.Errorf("over a database that is open: %v", err)
	}
	c.Close()
	var stages []string
	o := file.CopyOptions{Force: true, Progress: func(stage string, done, total int64) { stages = append(stages, fmt.Sprint(stage, " ", done == total)) }}
	if err := file.Backup(t.Context(), d.path, to, o); err != nil {
		t.Fatal(err)
	}
	if want := []string{"copied true", "checking true"}; !slices.Equal(stages, want) {
		t.Errorf("progress %q, want %q", stages, want)
	}
	// To a stream, and of a file that nobody has open.
	var out bytes.Buffer
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.BackupTo(t.Context(), d.path, dir, &out, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stream.db"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "copy.db", "copy.db.lock", "stream.db")
	for _, name := range []string{"copy.db", "stream.db"} {
		c := open(t, options(t, filepath.Join(dir, name)))
		if _, err := c.Find(t.Context(), "later", "1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What can't be copied leaves nothing behind.
func TestBackupRefuses(t *testing.T) {
	d, dir := filled(t), t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	if err := file.Backup(t.Context(), d.path, newer, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	run(t, raw(t, newer), fmt.Sprintf("PRAGMA user_version = %d", file.SchemaVersion+1))
	stopped, stop := context.WithCancel(t.Context())
	stop()
	files := map[string]string{"noise": "this is not a database, as one can see at once, if one reads its first line", "empty": ""}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, dir)
	for _, c := range []struct {
		ctx      context.Context
		from, to string
		want     error
		text     string
	}{
		{t.Context(), filepath.Join(dir, "noise"), "copy.db", db.ErrForeign, ""},
		{t.Context(), filepath.Join(dir, "empty"), "copy.db", db.ErrForeign, ""},
		{t.Context(), newer, "copy.db", db.ErrNewer, ""},
		{stopped, d.path, "copy.db", context.Canceled, ""},
		{t.Context(), d.path, d.path, nil, "own file"},
		{t.Context(), d.path, d.path + "-wal", nil, "own file"},
		{t.Context(), d.path, "none/copy.db", os.ErrNotExist, ""},
	} {
		to := c.to
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		err := file.Backup(c.ctx, c.from, to, file.CopyOptions{Force: true})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s to %s: %v, want %v %s", c.from, c.to, err, c.want, c.text)
		}
	}
	wantNames(t, dir, before...)
	appendEvent(t, d, event("c", "goes on"))
}

// A copy gets its name only if it holds what the engine promises.
func TestBackupIsCheckedBeforeItIsNamed(t *testing.T) {
	d, dir := filled(t), t.TempDir()
	to := filepath.Join(dir, "copy.db")
	if err := file.Backup(t.Context(), d.path, to, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	run(t, raw(t, d.path), "DELETE FROM pending WHERE seq = 20")
	for _, name := range []string{to, filepath.Join(dir, "other.db")} {
		if err := file.Backup(t.Context(), d.path, name, file.CopyOptions{Force: true}); !errors.Is(err, file.ErrUnsound) || !strings.Contains(err.Error(), "lost") {
			t.Errorf("%v", err)
		}
	}
	wantNames(t, dir, "copy.db")
	if after, err := os.ReadFile(to); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the good copy is not what it was: %v", err)
	}
	if _, err := file.Restore(t.Context(), d.path, filepath.Join(dir, "restored.db"), file.CopyOptions{}); !errors.Is(err, file.ErrUnsound) {
		t.Errorf("restore: %v", err)
	}
	wantNames(t, dir, "copy.db")
}

// lookingWriter looks at a folder before it takes the first byte, and breaks off.
type lookingWriter struct {
	t   *testing.T
	dir string
	n   int
}

func (w *lookingWriter) Write(b []byte) (int, error) {
	wantNames(w.t, w.dir)
	w.n += len(b)
	return 0, errors.New("the reader is gone")
}

// TestBackupToLeavesNothing: when the copy is written out it has no name any more, so that
// nothing is left where the reader's end ends the process.
func TestBackupToLeavesNothing(t *testing.T) {
	d, dir := filled(t), t.TempDir()
	w := &lookingWriter{t: t, dir: dir}
	if err := file.BackupTo(t.Context(), d.path, dir, w, file.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "the reader is gone") {
		t.Errorf("told %v", err)
	}
	if w.n == 0 {
		t.Error("nothing was written")
	}
	wantNames(t, dir)
}

// An older file, which an upgrade is to follow, is copied; only SQLite can judge it.
func TestBackupOfAnOlderFile(t *testing.T) {
	d, to := filled(t), tempFile(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, raw(t, d.path), "DROP TABLE results")
	if err := file.Backup(t.Context(), d.path, to, file.CopyOptions{}); !errors.Is(err, file.ErrUnsound) {
		t.Errorf("a file of this version: %v", err)
	}
	run(t, raw(t, d.path), fmt.Sprintf("PRAGMA user_version = %d", file.SchemaVersion-1))
	if err := file.Backup(t.Context(), d.path, to, file.CopyOptions{}); err != nil {
		t.Errorf("an older file: %v", err)
	}
}

// TestBackupsOfOneName: of two at once the second is refused; what a killed one left is replaced.
func TestBackupsOfOneName(t *testing.T) {
	d, to := filled(t), tempFile(t)
	if err := os.WriteFile(to+".inturn.part", bytes.Repeat([]byte("left by a kill"), 10000), 0o644); err != nil {
		t.Fatal(err)
	}
	inside := false
	o := file.CopyOptions{Progress: func(string, int64, int64) {
		if !inside {
			inside = true
			if err := file.Backup(t.Context(), d.path, to, file.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "another process writes it") {
				t.Errorf("the second one: %v", err)
			}
		}
	}}
	if err := file.Backup(t.Context(), d.path, to, o); err != nil || !inside {
		t.Fatal(err, inside)
	}
	wantNames(t, filepath.Dir(to), "inturn.db")
	wantSound(t, to)
}

func TestRestore(t *testing.T) {
	d, dir := filled(t), t.TempDir()
	backup := filepath.Join(dir, "backup.db")
	if err := file.Backup(t.Context(), d.path, backup, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	appendEvent(t, d, event("late", "1"))
	if _, err := file.Restore(t.Context(), backup, d.path, file.CopyOptions{}); !errors.Is(err, file.ErrExists) {
		t.Errorf("over a database: %v", err)
	}
	epoch := d.w.epoch
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := file.Restore(t.Context(), backup, d.path, file.CopyOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(kept); err != nil || !bytes.Equal(before, after) {
		t.Errorf("what was there is not kept as it was: %v", err)
	}
	r := open(t, options(t, d.path))
	if r.w.epoch <= epoch+1<<19 {
		t.Errorf("epoch %d after %d: a process of the old file may come to own this one", r.w.epoch, epoch)
	}
	if _, err := r.Find(t.Context(), "late", "1"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("what came after the backup: %v", err)
	}
	if again := appendEvent(t, r, event("late", "1")); again.Seq != 21 {
		t.Errorf("sent again it has seq %d", again.Seq)
	}
	// Into a new folder.
	fresh := filepath.Join(dir, "new", "folder", "inturn.db")
	if kept, err := file.Restore(t.Context(), backup, fresh, file.CopyOptions{}); err != nil || kept != "" {
		t.Fatal(kept, err)
	}
	wantNames(t, filepath.Dir(fresh), "inturn.db", "inturn.db.lock")
	open(t, options(t, fresh))
	// Over a database that a process has: it says for whom it waits.
	ctx, cancel := context.WithCancel(t.Context())
	told := ""
	waits := file.CopyOptions{Force: true, Progress: func(stage string, _, _ int64) { told = stage; cancel() }}
	if _, err := file.Restore(ctx, backup, fresh, waits); !errors.Is(err, context.Canceled) || !strings.Contains(told, file.ErrInUse.Error()) {
		t.Errorf("over a database that is open: told %q, %v", told, err)
	}
	// From another program's.
	foreign := filepath.Join(dir, "foreign.db")
	run(t, raw(t, foreign), "CREATE TABLE theirs (x)")
	if _, err := file.Restore(t.Context(), foreign, filepath.Join(dir, "never.db"), file.CopyOptions{}); !errors.Is(err, db.ErrForeign) {
		t.Errorf("from a database of another program: %v", err)
	}
}

// A WAL that lies there without its database must not be taken for the restored one's.
func TestRestoreBesideAnOldWAL(t *testing.T) {
	d, dir := filled(t), t.TempDir()
	path, backup := filepath.Join(dir, "inturn.db"), filepath.Join(dir, "backup.db")
	if err := file.Backup(t.Context(), d.path, backup, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	appendEvent(t, d, event("late", "1"))
	wal, err := os.ReadFile(d.path + "-wal")
	if err != nil || len(wal) == 0 {
		t.Fatal(len(wal), err)
	}
	if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Restore(t.Context(), backup, path, file.CopyOptions{}); !errors.Is(err, file.ErrExists) {
		t.Errorf("beside a WAL: %v", err)
	}
	kept, err := file.Restore(t.Context(), backup, path, file.CopyOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(kept + "-wal"); err != nil || !bytes.Equal(wal, after) {
		t.Errorf("the WAL is not kept: %v", err)
	}
	r := open(t, options(t, path))
	if _, err := r.Find(t.Context(), "late", "1"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("what only the old WAL had: %v", err)
	}
}

// Wherever a restore that replaces a file is cut short, the file opens as it was or
// as the backup has it, or not at all until the restore is done again.
func TestRestoreCutShort(t *testing.T) {
	d, dir := filled(t), t.TempDir()
	backup := filepath.Join(dir, "backup.db")
	if err := file.Backup(t.Context(), d.path, backup, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, d.path+".restoring"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options(t, d.path)); !errors.Is(err, file.ErrRestoring) {
		t.Errorf("open: %v", err)
	}
	if _, err := file.Restore(t.Context(), d.path+".restoring", d.path, file.CopyOptions{}); !errors.Is(err, file.ErrExists) {
		t.Errorf("restore: %v", err)
	}
	if _, err := file.Restore(t.Context(), d.path+".restoring", d.path, file.CopyOptions{Force: true}); err != nil {
		t.Errorf("restore again: %v", err)
	}
	open(t, options(t, d.path))
}
