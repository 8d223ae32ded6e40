package proofs

import (
	"path/filepath"
	"testing"

	"inturn/internal/faultvfs"
)

// TestPowerControls shows that the power cut tests see a loss where there is one:
// each part breaks what keeps an answer safe, and must be found out. (The same is
// done to the code itself by the files in mutations/.)
func TestPowerControls(t *testing.T) {
	t.Parallel()
	wal := func(e faultvfs.Event) bool { return e.Kind == faultvfs.WAL }
	t.Run("no sync of the WAL, as with synchronous NORMAL", func(t *testing.T) {
		w, dir := watch(t)
		w.Lie(wal)
		c := newCuts(t)
		runScript(t, w, dir, c)
		mustLose(t, c.judge(t, "inturn.db", scriptIDs(), 1))
	})
	t.Run("an answer before COMMIT", func(t *testing.T) {
		w, dir := watch(t)
		c, b := newCuts(t), newBook()
		d, err := openStore(t.Context(), filepath.Join(dir, "inturn.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for _, ev := range scriptIDs()[:2] {
			b.answered(ev.id, 0)
			c.at("after an early answer", b.copy(), w.Cut)
			if _, err := d.Append(t.Context(), ev.Event); err != nil {
				t.Fatal(err)
			}
		}
		mustLose(t, c.judge(t, "inturn.db", scriptIDs(), 1))
	})
	t.Run("no ownership commit at start", func(t *testing.T) {
		c := newCuts(t)
		for _, k := range killed(t)[5:10] {
			restart(t, k, c, true, wal)
		}
		mustLose(t, c.judge(t, "inturn.db", scriptIDs(), 1))
	})
}

// mustLose wants a control to be found out.
func mustLose(t testing.TB, wrong []string) {
	t.Helper()
	if len(wrong) == 0 {
		t.Error("nothing was found wrong")
		return
	}
	t.Log("found out: ", wrong[0])
}
