package file

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

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

func mustWrite(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeftParts: the next copy removes what killed processes left, and nothing that a
// process has or that is another program's.
func TestLeftParts(t *testing.T) {
	dir := t.TempDir()
	held, err := newPart(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, dir, "left.inturn.part", "left.inturn.part-journal", "film.mkv.part", "new.part", "new")
	if err := os.Symlink("new", filepath.Join(dir, "link.inturn.part")); err != nil {
		t.Fatal(err)
	}
	p, err := newPart(filepath.Join(dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{"film.mkv.part", "held.inturn.part", "link.inturn.part", "new", "new.inturn.part", "new.part"}; !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
	if _, err := newPart(filepath.Join(dir, "held")); err == nil {
		t.Error("a part that is held is made again")
	}
	p.discard()
	held.discard()
	if got, want := names(t, dir), []string{"film.mkv.part", "link.inturn.part", "new", "new.part"}; !slices.Equal(got, want) {
		t.Errorf("in the end the folder has %q, want %q", got, want)
	}
}

// TestLeftPartOfOneName is written anew, also if its file has a second name: that stays.
func TestLeftPartOfOneName(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "a.inturn.part")
	if err := os.Link(filepath.Join(dir, "a.inturn.part"), filepath.Join(dir, "mine")); err != nil {
		t.Fatal(err)
	}
	p, err := newPart(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard()
	if b, err := os.ReadFile(filepath.Join(dir, "mine")); err != nil || string(b) != "a.inturn.part" {
		t.Errorf("the other name has %q, %v", b, err)
	}
}

func TestLeftFolders(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"inturn-backup-left", "inturn-backup-empty", "inturn-backup-old", "inturn-backup-held", "inturn-backup-full", "other"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, dir, "inturn-backup-left/copy.inturn.part", "inturn-backup-full/mine", "inturn-backup-held/copy.inturn.part")
	held, err := os.Open(filepath.Join(dir, "inturn-backup-held/copy.inturn.part"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	long := syscall.NsecToTimeval(1)
	if err := syscall.Utimes(filepath.Join(dir, "inturn-backup-old"), []syscall.Timeval{long, long}); err != nil {
		t.Fatal(err)
	}
	removeLeftFolders(dir)
	if got, want := names(t, dir), []string{"inturn-backup-empty", "inturn-backup-full", "inturn-backup-held", "other"}; !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
}
