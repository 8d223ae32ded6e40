package file

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
)

// TestLockTakeover on a clock of its own: a holder whose beat stands still is
// replaced after beatDead and not before, one that beats never; and who is replaced
// hears of it.
func TestLockTakeover(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	never := func(err error) { t.Errorf("the lock was lost: %v", err) }
	t.Run("standing still", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		synctest.Test(t, func(t *testing.T) {
			holder := &Lock{path: path + ".lock", name: "a stopped process"}
			if err := holder.tryLock(); err != nil {
				t.Fatal(err)
			}
			defer holder.file.Close()
			if err := errors.Join(holder.write(), holder.beat(7)); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			l, err := Acquire(t.Context(), path, "the next", log, never)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < beatDead || took > beatDead+time.Second {
				t.Errorf("taken over after %v", took)
			}
			if holder.inPlace() {
				t.Error("the old holder still believes to have it")
			}
			l.Release()
		})
	})
	t.Run("beating", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		synctest.Test(t, func(t *testing.T) {
			holder, err := Acquire(t.Context(), path, "a process", log, never)
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Release()
			ctx, cancel := context.WithTimeout(t.Context(), 10*beatDead)
			defer cancel()
			if _, err := Acquire(ctx, path, "the next", log, never); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a process") {
				t.Errorf("got %v", err)
			}
		})
	})
	for name, c := range map[string]struct {
		change func(lock string) error
		want   error
	}{
		"removed":           {os.Remove, ErrLockRemoved},
		"moved away":        {func(lock string) error { return os.Rename(lock, lock+".old") }, ErrLockRemoved},
		"copied over":       {recreate, ErrLockRemoved},
		"replaced by empty": {func(lock string) error { return errors.Join(os.Remove(lock), os.WriteFile(lock, nil, 0o600)) }, ErrLockRemoved},
		"another's": {func(lock string) error {
			return errors.Join(os.Remove(lock), os.WriteFile(lock, []byte("the next\n00000000000000000001\n"), 0o600))
		}, db.ErrFenced},
	} {
		t.Run("the holder hears that it was "+name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			synctest.Test(t, func(t *testing.T) {
				lost := make(chan error, 1)
				holder, err := Acquire(t.Context(), path, "a process", log, func(err error) { lost <- err })
				if err != nil {
					t.Fatal(err)
				}
				defer holder.Release()
				if err := c.change(path + ".lock"); err != nil {
					t.Fatal(err)
				}
				if err := <-lost; !errors.Is(err, c.want) || errors.Is(err, db.ErrFenced) != (c.want == db.ErrFenced) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

// recreate puts a copy of a file in its place.
func recreate(path string) error {
	text, err := os.ReadFile(path)
	return errors.Join(err, os.Remove(path), os.WriteFile(path, text, 0o600))
}

// TestLockRefuses: what has the lock's name and is something else is not written to.
func TestLockRefuses(t *testing.T) {
	const text = "of another program\n"
	acquire := func(path string) error {
		l, err := Acquire(t.Context(), path, "a process", slog.New(slog.DiscardHandler), func(error) {})
		if err == nil {
			l.Release()
		}
		return err
	}
	for name, make := range map[string]func(lock, other string) error{
		"a symbolic link":              func(lock, other string) error { return os.Symlink(other, lock) },
		"a symbolic link to nowhere":   func(lock, other string) error { return os.Symlink(other+"-none", lock) },
		"a hard link":                  func(lock, other string) error { return os.Link(other, lock) },
		"a folder":                     func(lock, other string) error { return os.Mkdir(lock, 0o700) },
		"a pipe":                       func(lock, other string) error { return syscall.Mkfifo(lock, 0o600) },
		"another program's file":       func(lock, other string) error { return os.WriteFile(lock, []byte(text), 0o600) },
		"a file without a line's end":  func(lock, other string) error { return os.WriteFile(lock, []byte("text"), 0o600) },
		"a file of two lines and more": func(lock, other string) error { return os.WriteFile(lock, []byte("a\n1\nb\n"), 0o600) },
	} {
		dir := t.TempDir()
		path, other := filepath.Join(dir, "a.db"), filepath.Join(dir, "other")
		if err := errors.Join(os.WriteFile(other, []byte(text), 0o600), make(path+".lock", other)); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path + ".lock")
		if err := acquire(path); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.Lstat(path + ".lock")
		if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
			t.Errorf("%s: it has changed: %v", name, err)
		}
		if got, err := os.ReadFile(other); err != nil || string(got) != text {
			t.Errorf("%s: the other file is %q, %v", name, got, err)
		}
		if _, err := os.Lstat(other + "-none"); err == nil {
			t.Errorf("%s: its target is made", name)
		}
	}
	for name, text := range map[string]string{"empty": "", "a power cut": strings.Repeat("\x00", 40), "a longer holder's": "process 7 on h\n00000000000000000001\n0001\n"} {
		path := filepath.Join(t.TempDir(), "a.db")
		if err := os.WriteFile(path+".lock", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := acquire(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWithdraw removes the file that Acquire has made, and no other.
func TestWithdraw(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	for _, was := range []bool{false, true} {
		if was {
			if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Acquire(t.Context(), path, "a process", slog.New(slog.DiscardHandler), func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		l.Withdraw()
		l.Release()
		if _, err := os.Lstat(path + ".lock"); (err == nil) != was {
			t.Errorf("there before: %v; after it: %v", was, err)
		}
	}
}
