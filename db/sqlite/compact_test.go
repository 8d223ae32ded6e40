package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/conn"
)

func TestCompact(t *testing.T) {
	path := tempFile(t)
	d := open(t, eraseOptions(t, path))
	correspond(t, d, "other", "keep-me", 100, 20)
	correspond(t, d, secret, secret, 900, 450)
	if _, err := d.Erase(secret, "", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := file.Compact(t.Context(), path, file.CopyOptions{}); !errors.Is(err, file.ErrInUse) {
		t.Errorf("while a server has the file: %v", err)
	}
	want := rows(t, d, "SELECT * FROM events")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	reader, err := file.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := file.Compact(t.Context(), path, file.CopyOptions{}); !errors.Is(err, file.ErrInUse) {
		t.Errorf("while somebody reads: %v", err)
	}
	reader.Close()
	before, after, err := file.Compact(t.Context(), path, file.CopyOptions{})
	if err != nil || after > before/2 {
		t.Errorf("%d bytes before, %d after, %v", before, after, err)
	}
	wantNames(t, filepath.Dir(path), "inturn.db", "inturn.db.lock")
	content, err := os.ReadFile(path)
	if err != nil || bytes.Contains(content, []byte(secret)) {
		t.Errorf("traces of what was erased are left (%v)", err)
	}
	d = open(t, eraseOptions(t, path))
	if got := rows(t, d, "SELECT * FROM events"); len(got) != len(want) {
		t.Errorf("%d events, %d before", len(got), len(want))
	}
	if ev := appendEvent(t, d, event("next", "1")); ev.Seq != 1001 {
		t.Errorf("the next seq is %d", ev.Seq)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}

// What ends in the middle leaves the file as it was, and it can be done again.
func TestCompactCutShort(t *testing.T) {
	d := filled(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{file.StageCopy, file.StageCheck} {
		ctx, cancel := context.WithCancel(t.Context())
		_, _, err := file.Compact(ctx, d.path, file.CopyOptions{Progress: func(s string, _, _ int64) {
			if s == stage {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", stage, err)
		}
		wantNames(t, filepath.Dir(d.path), "inturn.db", "inturn.db.lock")
		wantSound(t, d.path)
	}
	// An unsound file is not replaced by its copy.
	pool, err := sql.Open("sqlite", conn.FileDSN(d.path, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.ExecContext(t.Context(), "DELETE FROM pending WHERE seq = 20"); err != nil {
		t.Fatal(err)
	}
	pool.Close()
	before, err := os.Stat(d.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := file.Compact(t.Context(), d.path, file.CopyOptions{}); !errors.Is(err, file.ErrUnsound) {
		t.Errorf("an unsound file: %v", err)
	}
	if after, err := os.Stat(d.path); err != nil || !os.SameFile(before, after) {
		t.Errorf("another file stands in its place (%v)", err)
	}
}
