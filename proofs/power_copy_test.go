package proofs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"inturn/db/sqlite/file"
)

// steps cuts after each step, and many times once what was asked for has returned: of
// all that may still be lost then one thing is enough.
func (c *cuts) steps(r *recorder) func(at string, answer bool) {
	return func(at string, answer bool) {
		tries := 1
		if answer {
			tries = 16
		}
		for range tries {
			c.at(at, r.known.copy(), r.disk.Cut)
		}
	}
}

// scripted makes a file with the small script's events and returns what is known of them.
func scripted(t testing.TB, path string) *book {
	t.Helper()
	b := newBook()
	if err := powerScript(t.Context(), path, b, func() {}); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPowerBackup cuts the power after every system call of a backup: what has the
// copy's name is whole and sound, whenever that is, and once Backup has returned it is
// there.
func TestPowerBackup(t *testing.T) {
	t.Parallel()
	needTool(t, "strace")
	source := filepath.Join(t.TempDir(), "inturn.db")
	known := scripted(t, source)
	c, r := newCuts(t), newRecorder(t)
	r.then = c.steps(r)
	r.feed(traced(t, "backup", filepath.Join(r.root, "copy.db"), childFrom+"="+source))
	t.Logf("%d steps: %v", r.steps, slices.Sorted(maps.Keys(r.disk.Live())))
	named := 0
	for _, k := range c.list {
		_, there := k.image["copy.db"]
		if !there {
			if len(k.known.seqs) > 0 {
				t.Errorf("%s: the backup has returned, and its file is not there", k.at)
			}
			continue
		}
		named++
		dir := t.TempDir()
		if err := k.image.WriteTo(dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "copy.db")
		if violations, err := file.Verify(t.Context(), path, nil); err != nil || len(violations) > 0 {
			t.Errorf("%s: the file with the copy's name: %v, %v", k.at, violations, err)
			continue
		}
		reportWrong(t, judgeFile(t.Context(), path, known, scriptIDs()))
	}
	if named == 0 {
		t.Error("the power was never cut while the copy had its name")
	}
}

// TestPowerRestore cuts the power after every system call of a restore that replaces
// a file: what opens is the old file, whole, or the backup, whole; or it says that the
// restore is to be done again, and both are there for that.
func TestPowerRestore(t *testing.T) {
	t.Parallel()
	needTool(t, "strace")
	dir := t.TempDir()
	source := filepath.Join(dir, "inturn.db")
	backed := scripted(t, source)
	backup := filepath.Join(dir, "backup.db")
	if err := file.Backup(t.Context(), source, backup, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}

	c, r := newCuts(t), newRecorder(t)
	path := filepath.Join(r.root, "inturn.db")
	old := leftByAKill(t, r, path)
	r.then = c.steps(r)
	r.feed(traced(t, "restore", path, childFrom+"="+backup))
	if len(c.list) == 0 {
		t.Fatal("nothing was seen")
	}
	was := map[string]int{}
	for _, k := range c.list {
		what, err := opens(t, k, old, backed)
		if err != nil {
			t.Errorf("%s: %v", k.at, err)
		}
		if len(k.known.seqs) > 0 && what != "backup" {
			t.Errorf("%s: the restore has returned, and the file is the %s", k.at, what)
		}
		was[what]++
	}
	t.Logf("%d steps; after the cut it was: %v", r.steps, was)
	if was["old"] == 0 || was["backup"] == 0 || was["cut short"] == 0 {
		t.Error("the power was not cut in each phase")
	}
}

// leftByAKill puts a database there whose newest event only the WAL has.
func leftByAKill(t testing.TB, r *recorder, path string) *book {
	t.Helper()
	dir := t.TempDir()
	d, err := openStore(t.Context(), filepath.Join(dir, "inturn.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	old := newBook()
	ev := newAppended("old", 0)
	receipt, err := d.Append(t.Context(), ev.Event)
	if err != nil {
		t.Fatal(err)
	}
	old.answered(ev.id, receipt.Seq)
	adopt(t, r, path, filepath.Join(dir, "inturn.db"))
	return old
}

// adopt puts the files of the open database from there, as a kill would leave them.
func adopt(t testing.TB, r *recorder, path, from string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(path+suffix, from+suffix); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		r.disk.Adopt("inturn.db"+suffix, content)
	}
}

// opens tells which of both files a start finds after the cut.
func opens(t testing.TB, k cut, old, backed *book) (what string, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := k.image.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "inturn.db")
	d, err := openStore(t.Context(), path)
	if errors.Is(err, file.ErrRestoring) {
		if violations, err := file.Verify(t.Context(), path+".restoring", nil); err != nil || len(violations) > 0 {
			return "cut short", fmt.Errorf("the restored file: %v, %w", violations, err)
		}
		return "cut short", nil
	}
	if err != nil {
		return "unknown", err
	}
	defer d.Close()
	if _, err := d.Find(t.Context(), "old", "0"); err == nil {
		return "old", nil
	}
	for id := range backed.seqs {
		var client string
		var n int
		fmt.Sscanf(id, "%1s/%d", &client, &n)
		if _, err := d.Find(t.Context(), client, fmt.Sprint(n)); err != nil {
			return "neither", fmt.Errorf("%s: %w", id, err)
		}
	}
	return "backup", nil
}

// TestPowerCompact cuts the power after every system call of a compaction of a file
// whose newest events only the WAL has: what opens is the old file or the new one, whole,
// and once Compact has returned it is the new one.
func TestPowerCompact(t *testing.T) {
	t.Parallel()
	reportWrong(t, compacted(t, false))
}

// TestPowerCompactControl: a folder that was not synced must be found out.
func TestPowerCompactControl(t *testing.T) {
	t.Parallel()
	mustLose(t, compacted(t, true))
}

func compacted(t testing.TB, deaf bool) (wrong []string) {
	t.Helper()
	needTool(t, "strace")
	c, r := newCuts(t), newRecorder(t)
	if r.deaf = deaf; deaf {
		c.times = 16 // what is lost is chance
	}
	source := filepath.Join(t.TempDir(), "inturn.db")
	known, all := scripted(t, source), scriptIDs()
	d, err := openStore(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for n := range 40 { // of which nothing but free pages is left
		ev := newAppended("gone", n)
		ev.Payload = []byte(`"` + strings.Repeat("x", 3000) + `"`)
		if _, err := d.Append(t.Context(), ev.Event); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Erase("gone", "a test", ""); err != nil {
		t.Fatal(err)
	}
	newest := newAppended("a", 2*scriptEvents)
	receipt, err := d.Append(t.Context(), newest.Event)
	if err != nil {
		t.Fatal(err)
	}
	known.answered(newest.id, receipt.Seq)
	path := filepath.Join(r.root, "inturn.db")
	adopt(t, r, path, source)

	r.then = c.steps(r)
	r.feed(traced(t, "compact", path))
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	was := map[string]int{}
	for _, k := range c.list {
		what := "old"
		if int64(len(k.image["inturn.db"])) == after.Size() {
			what = "new"
		}
		was[what]++
		if len(k.known.seqs) > 0 && what != "new" {
			wrong = append(wrong, k.at+": the compaction has returned, and the file is the old one")
		}
		k.known = known
		for _, w := range k.judge(t, "inturn.db", append(all, newest)) {
			wrong = append(wrong, fmt.Sprintf("%s: the %s file: %s", k.at, what, w))
		}
	}
	t.Logf("%d steps; after the cut the file was: %v", r.steps, was)
	if was["old"] == 0 || was["new"] == 0 {
		t.Error("the power was not cut in each phase")
	}
	return wrong
}
