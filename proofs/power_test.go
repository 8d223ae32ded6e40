package proofs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"inturn/db/sqlite"
	"inturn/internal/faultvfs"
)

// cut is the state of the disk after a power cut, and what had been answered by then.
type cut struct {
	image faultvfs.Image
	known *book
	at    string
}

// cuts collects them.
type cuts struct {
	mu    sync.Mutex
	rng   *rand.Rand
	times int
	list  []cut
	seen  map[[sha256.Size]byte]bool
}

func newCuts(t testing.TB) *cuts {
	seed, times := uint64(1), 1
	if thorough() {
		times = 2
	}
	if long() {
		seed, times = rand.Uint64(), 16
	}
	t.Logf("seed %d", seed)
	return &cuts{times: times, rng: rand.New(rand.NewPCG(seed, 0)), seen: map[[sha256.Size]byte]bool{}}
}

// at cuts the power several times at one moment: what was not synced is lost each
// time in another way.
func (c *cuts) at(at string, known *book, image func(*rand.Rand) faultvfs.Image) {
	c.mu.Lock()
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
	c.mu.Unlock()
	for range c.times {
		k := cut{image(rng), known, at} // not under mu: image may wait for the disk, which waits for us
		c.mu.Lock()
		if sum := k.sum(); !c.seen[sum] {
			c.seen[sum] = true
			c.list = append(c.list, k)
		}
		c.mu.Unlock()
	}
}

func (k cut) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(k.image)) {
		fmt.Fprintf(h, "%q %d %t\n", name, len(k.image[name]), k.image[name] == nil)
		h.Write(k.image[name])
	}
	fmt.Fprint(h, k.known.seqs, k.known.settled)
	h.Sum(sum[:0])
	return sum
}

// judge restarts on each and returns what is wrong. enough ends it early.
func (c *cuts) judge(t testing.TB, file string, all []appended, enough int) (wrong []string) {
	t.Helper()
	if len(c.list) == 0 {
		t.Fatal("the power was never cut")
	}
	for _, k := range c.list {
		for _, w := range k.judge(t, file, all) {
			wrong = append(wrong, k.at+": "+w)
		}
		if len(wrong) >= enough {
			return wrong
		}
	}
	t.Logf("%d cuts", len(c.list))
	return wrong
}

func (k cut) judge(t testing.TB, file string, all []appended) []string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := k.image.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	return judgeFile(t.Context(), filepath.Join(dir, filepath.FromSlash(file)), k.known, all)
}

func reportWrong(t testing.TB, wrong []string) {
	t.Helper()
	for _, w := range wrong {
		t.Error(w)
	}
}

func watch(t testing.TB) (*faultvfs.Watched, string) {
	t.Helper()
	dir := t.TempDir()
	w, stop, err := faultvfs.Watch(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return w, dir
}

// each cuts before every step of SQLite's on the disk.
func (c *cuts) each(w *faultvfs.Watched, b *book) {
	n := 0
	w.OnStep(func(e faultvfs.Event, d *faultvfs.Disk) {
		if n++; n%raceSparse == 0 {
			c.at(fmt.Sprintf("step %d, before %s %s", n, e.Op, e.Name), b.copy(), d.Cut)
		}
	})
}

// TestPowerEveryStep cuts the power before every write, truncation, creation, sync
// and deletion of the small script, and after every answer.
func TestPowerEveryStep(t *testing.T) {
	t.Parallel()
	w, dir := watch(t)
	c := newCuts(t)
	runScript(t, w, dir, c)
	for _, op := range []faultvfs.Op{faultvfs.Write, faultvfs.Sync, faultvfs.Truncate} {
		for _, kind := range []faultvfs.Kind{faultvfs.Main, faultvfs.WAL} {
			if w.Count(op, kind) == 0 && !(op == faultvfs.Truncate && kind == faultvfs.Main) {
				t.Errorf("no %s of the %s file: the script is too small", op, kind)
			}
		}
	}
	sameAsKernel(t, w, dir)
	reportWrong(t, c.judge(t, "inturn.db", scriptIDs(), 10))
}

// runScript runs the small script on a watched folder.
func runScript(t testing.TB, w *faultvfs.Watched, dir string, c *cuts) {
	t.Helper()
	b := newBook()
	c.each(w, b)
	err := powerScript(t.Context(), filepath.Join(dir, "inturn.db"), b, func() { c.at("after an answer", b.copy(), w.Cut) })
	if err != nil {
		t.Fatal(err)
	}
	w.OnStep(nil)
	c.at("after the end", b.copy(), w.Cut)
}

// sameAsKernel checks the recording itself: what the disk is thought to show is
// what it shows.
func sameAsKernel(t testing.TB, w *faultvfs.Watched, dir string) {
	t.Helper()
	for name, content := range w.Live() {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != string(content) {
			t.Errorf("%s: %d bytes were recorded, %d are there (%v)", name, len(content), len(got), err)
		}
	}
}

// TestPowerKillFirst kills the process before each sync, when everything is written
// and the last group is not safe, restarts, sends everything again, and cuts the
// power after each answer: an answer about what was found must hold. Once with
// a reader of an old state, so that no checkpoint can run.
func TestPowerKillFirst(t *testing.T) {
	t.Parallel()
	for _, reader := range []bool{false, true} {
		t.Run(fmt.Sprintf("old reader %v", reader), func(t *testing.T) {
			c := newCuts(t)
			c.times = max(1, c.times/2)
			for i, k := range killed(t) {
				if long() || i%3 == 0 || thorough() && !reader { // a checkpoint that must give up takes its time
					restart(t, k, c, reader, nil)
				}
			}
			reportWrong(t, c.judge(t, "inturn.db", scriptIDs(), 10))
		})
	}
}

// kill is a disk as a killed process leaves it.
type kill struct {
	disk  *faultvfs.Disk
	known *book
	at    string
}

// killed runs the small script and returns what a kill before each sync leaves.
func killed(t testing.TB) (list []kill) {
	t.Helper()
	w, dir := watch(t)
	b := newBook()
	w.OnStep(func(e faultvfs.Event, d *faultvfs.Disk) {
		if e.Op == faultvfs.Sync && e.Kind == faultvfs.WAL {
			list = append(list, kill{d.Clone(), b.copy(), fmt.Sprintf("killed before sync %d of the WAL", 1+len(list))})
		}
	})
	if err := powerScript(t.Context(), filepath.Join(dir, "inturn.db"), b, func() {}); err != nil {
		t.Fatal(err)
	}
	return list
}

// restart opens what a killed process left, sends everything again, and cuts the
// power after each answer.
func restart(t testing.TB, k kill, c *cuts, reader bool, lieUntilOpen func(faultvfs.Event) bool) {
	t.Helper()
	dir := t.TempDir()
	w, stop, err := faultvfs.Continue(dir, k.disk)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	w.OldReader(reader)
	w.Lie(lieUntilOpen)
	d, err := openStore(t.Context(), filepath.Join(dir, "inturn.db"))
	if err != nil {
		t.Fatalf("%s: %v", k.at, err)
	}
	defer d.Close()
	defer w.OldReader(false)
	w.Lie(nil)
	b := k.known.copy()
	for _, ev := range scriptIDs() {
		r, err := d.Append(t.Context(), ev.Event)
		if err != nil {
			t.Fatal(err)
		}
		if seq, before := b.seqs[ev.id]; before && seq != r.Seq {
			t.Errorf("%s: %s had seq %d and got %d", k.at, ev.id, seq, r.Seq)
		}
		b.answered(ev.id, r.Seq)
		if !r.Duplicate {
			// Its own commit makes everything safe. What counts is the repeats before.
			break
		}
		c.at(k.at+", after a repeat", b.copy(), w.Cut)
	}
	c.at(k.at+", after a new one", b.copy(), w.Cut)
}

// TestPowerUnderLoad cuts at random moments of many concurrent appends and settles,
// with checkpoints among them.
func TestPowerUnderLoad(t *testing.T) {
	t.Parallel()
	clients, events, every := 16, 60, int32(250)
	if long() {
		clients, events, every = 64, 500, 2000
	}
	every *= raceSparse
	w, dir := watch(t)
	c, b := newCuts(t), newBook()
	path := filepath.Join(dir, "inturn.db")
	d, err := openStore(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	checkpointed := w.Count(faultvfs.Write, faultvfs.Main)
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
	n, next := int32(0), 1+rng.Int32N(every)
	w.OnStep(func(e faultvfs.Event, disk *faultvfs.Disk) {
		if n++; n == next {
			next += 1 + rng.Int32N(every)
			c.at(fmt.Sprintf("step %d, before %s %s", n, e.Op, e.Name), b.copy(), disk.Cut)
		}
	})
	var all []appended
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for i := range clients {
		var mine []appended
		for n := range events {
			ev := newAppended(fmt.Sprint("c", i), n)
			ev.Payload = []byte(`"` + strings.Repeat("x", 1+(i*n*37)%3000) + `"`)
			mine = append(mine, ev)
		}
		all = append(all, mine...)
		wg.Go(func() { errs <- appendAndSettle(t.Context(), d, path, mine, b) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	w.OnStep(nil)
	if w.Count(faultvfs.Write, faultvfs.Main) == checkpointed {
		t.Error("there was no checkpoint")
	}
	c.at("in the end", b.copy(), w.Cut)
	reportWrong(t, c.judge(t, "inturn.db", all, 10))
}

// appendAndSettle is one client with its account, which now and then has the file
// checkpointed. Every third event stays pending for a while.
func appendAndSettle(ctx context.Context, d *sqlite.DB, path string, events []appended, b *book) error {
	for i, ev := range events {
		if i%20 == 19 {
			if err := foreignCheckpoint(ctx, path); err != nil {
				return err
			}
		}
		r, err := appendPatiently(ctx, d, ev.Event)
		if err != nil {
			return err
		}
		b.answered(ev.id, r.Seq)
		for range i % 3 {
			if err := settleHead(ctx, d, ev.ClientID, b, func() {}); err != nil {
				return err
			}
		}
	}
	return nil
}
