package file

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLockTakeover on a clock of its own: a holder whose beat stands still is
// replaced after beatDead and not before, one that beats never; and who is replaced
// hears of it.
func TestLockTakeover(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	never := func() { t.Error("the lock was lost") }
	t.Run("standing still", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		synctest.Test(t, func(t *testing.T) {
			holder := &Lock{path: path + ".lock"}
			if err := holder.tryLock(); err != nil {
				t.Fatal(err)
			}
			defer holder.file.Close()
			if err := holder.beat("a stopped process", 7); err != nil {
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
	t.Run("the replaced one hears of it", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		synctest.Test(t, func(t *testing.T) {
			lost := make(chan struct{})
			holder, err := Acquire(t.Context(), path, "a process", log, func() { close(lost) })
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Release()
			if err := os.Remove(path + ".lock"); err != nil {
				t.Fatal(err)
			}
			<-lost
		})
	})
}
