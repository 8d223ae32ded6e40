package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"inturn/db"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/conn"
	"inturn/internal/faultvfs"
)

// heard is an Observer.
type heard struct {
	mu          sync.Mutex
	groups      []int
	syncs       int
	took        time.Duration
	checkpoints int
	slow, dead  []string
}

func (h *heard) Committed(operations int, synced bool, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups = append(h.groups, operations)
	if h.took += took; synced {
		h.syncs++
	}
}

func (h *heard) Checkpointed(time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checkpoints++
}

func (h *heard) SlowEffect(typ string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slow = append(h.slow, typ)
}

func (h *heard) Dead(typ string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead = append(h.dead, typ)
}

func TestObserver(t *testing.T) {
	path := tempFile(t)
	w, stop, err := faultvfs.Watch(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	h := &heard{}
	o := options(t, path)
	o.Observer = h
	d := open(t, o)
	before := w.Count(faultvfs.Sync, faultvfs.WAL)
	a, b := appendEvent(t, d, event("a", "1")), appendEvent(t, d, event("b", "1"))
	if _, err := d.Append(context.Background(), event("a", "1")); err != nil { // writes nothing
		t.Fatal(err)
	}
	if s := d.Stats(); s.Pending != 2 || s.Runnable != 2 || s.Epoch != 1 || s.Unclean || s.FileBytes == 0 || s.WALBytes == 0 || s.DiskFree <= 0 || s.DiskSize < s.DiskFree {
		t.Errorf("after two events: %+v", s)
	}
	settle(t, d, db.Settlement{Event: a, Status: db.Dead, Error: "no"})
	settle(t, d, done(b, func(db.Tx) (any, error) { time.Sleep(2 * db.SlowEffect); return nil, nil }))
	if s := d.Stats(); s.Pending != 0 || s.Runnable != 0 {
		t.Errorf("after both were settled: %+v", s)
	}
	// A commit that finds the WAL empty syncs its header too.
	if seen := w.Count(faultvfs.Sync, faultvfs.WAL) - before; h.syncs != 4 || seen != h.syncs+1 {
		t.Errorf("%d groups were synced, of %v; the disk saw %d syncs of the WAL, want 4 groups and the header", h.syncs, h.groups, seen)
	}
	if len(h.groups) != 5 || h.took <= 0 {
		t.Errorf("groups %v in %v", h.groups, h.took)
	}
	if fmt.Sprint(h.slow, h.dead) != "[note] [note]" {
		t.Errorf("slow %v, dead %v", h.slow, h.dead)
	}
	if h.checkpoints != 0 {
		t.Errorf("%d checkpoints of a short WAL", h.checkpoints)
	}
}

// The WAL is moved into the file by itself, and while a reader holds it, it grows.
func TestCheckpoints(t *testing.T) {
	h := &heard{}
	o := options(t, tempFile(t))
	o.Observer = h
	d := open(t, o)
	const bound = conn.CheckpointFrames * 4200
	big := `{"n":"` + strings.Repeat("x", 500<<10) + `"}`
	fill := func(from string, n int) {
		for i := range n {
			ev := event("a", fmt.Sprint(from, i))
			ev.Payload = []byte(big)
			appendEvent(t, d, ev)
		}
	}
	fill("short", 100) // 50 MB
	h.mu.Lock()
	checkpoints := h.checkpoints
	h.mu.Unlock()
	if s := d.Stats(); checkpoints < 2 || s.WALBytes > bound+1<<20 {
		t.Errorf("%d checkpoints, the WAL has %d bytes", checkpoints, s.WALBytes)
	}
	reader, err := file.OpenReadOnly(t.Context(), d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	rows, err := reader.Query("SELECT seq FROM outbox")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	rows.Next()
	fill("held", 60)
	if s := d.Stats(); s.WALBytes < bound+4<<20 {
		t.Errorf("the WAL has %d bytes although a reader holds it", s.WALBytes)
	}
}

// slowDisk is an Observer under which no checkpoint ends before it may.
type slowDisk struct {
	nobody
	reached, leave chan struct{}
}

func (s *slowDisk) Checkpointed(time.Duration) {
	close(s.reached)
	<-s.leave
}

// Who waits for a commit doesn't wait for the checkpoint after it.
func TestCheckpointAfterAnswer(t *testing.T) {
	s := &slowDisk{reached: make(chan struct{}), leave: make(chan struct{})}
	o := options(t, tempFile(t))
	o.Observer = s
	d := open(t, o)
	t.Cleanup(func() { close(s.leave) }) // before the database is closed
	ev := event("a", "m")
	ev.Payload = []byte(`"` + strings.Repeat("x", conn.CheckpointFrames*4096) + `"`)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if _, err := d.Append(context.Background(), ev); err != nil {
			t.Error(err)
		}
	}()
	wait(t, "the answer", answered)
	wait(t, "the checkpoint", s.reached)
}

// steps is how many instructions of SQLite's machine a statement takes.
func steps(t *testing.T, d *DB, text string) int {
	t.Helper()
	tls := libc.NewTLS()
	defer tls.Close()
	var handle uintptr
	err := d.w.conn.SQL.Raw(func(dc any) error {
		handle = uintptr(reflect.ValueOf(dc).Elem().FieldByName("db").Uint())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sql, err := libc.CString(text)
	if err != nil {
		t.Fatal(err)
	}
	defer libc.Xfree(tls, sql)
	out := libc.Xmalloc(tls, 8)
	defer libc.Xfree(tls, out)
	if rc := sqlite3.Xsqlite3_prepare_v2(tls, handle, sql, -1, out, 0); rc != sqlite3.SQLITE_OK {
		t.Fatalf("prepare %s: %d", text, rc)
	}
	stmt := **(**uintptr)(unsafe.Pointer(&out))
	defer sqlite3.Xsqlite3_finalize(tls, stmt)
	for sqlite3.Xsqlite3_step(tls, stmt) == sqlite3.SQLITE_ROW {
	}
	return int(sqlite3.Xsqlite3_stmt_status(tls, stmt, sqlite3.SQLITE_STMTSTATUS_VM_STEP, 0))
}

// What a scrape asks the file costs the same however much is in it.
func TestScrapeVisitsNoRows(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	cost := func() (n int) {
		n = steps(t, d, "PRAGMA freelist_count")
		for _, turn := range []string{"1", "2", "7"} {
			n += steps(t, d, strings.Replace(acceptedAtText(t), "?1", turn, 1))
		}
		return n
	}
	add := func(from, n int) {
		var events []db.Event
		for i := range n {
			events = append(events, event(fmt.Sprint("client", from+i), "1"))
		}
		if _, err := d.AppendBatch(t.Context(), db.Batch{Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	add(0, 10)
	few := cost()
	for i := range 10 {
		add(10+1000*i, 1000)
	}
	if many := cost(); many != few {
		t.Errorf("%d steps with 10 accounts, %d with 10,010", few, many)
	}
	for _, turn := range []int64{5010, 5011} { // the last of a batch and the first of the next
		at, err := d.AcceptedAt(t.Context(), turn)
		stored, ferr := d.Find(t.Context(), fmt.Sprint("client", turn-1), "1")
		if err != nil || ferr != nil || !at.Equal(stored.ReceivedAt) {
			t.Errorf("turn %d was accepted at %v (%v), want %v (%v)", turn, at, err, stored.ReceivedAt, ferr)
		}
	}
	if _, err := d.AcceptedAt(t.Context(), 20000); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a turn after all events: %v", err)
	}
	if n, err := d.FreePages(t.Context()); n != 0 || err != nil {
		t.Errorf("%d free pages, %v", n, err)
	}
}

// Dead events and paused accounts are counted as they are now.
func TestCounts(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		want := func(dead, paused int) {
			t.Helper()
			if gotDead, gotPaused, err := d.Counts(t.Context()); gotDead != dead || gotPaused != paused || err != nil {
				t.Errorf("%d dead, %d paused, %v; want %d, %d", gotDead, gotPaused, err, dead, paused)
			}
		}
		want(0, 0)
		one, two := appendEvent(t, d, event("a", "1")), appendEvent(t, d, event("a", "2"))
		settle(t, d, db.Settlement{Event: one, Status: db.Dead, Error: "why"}, done(two, nil))
		wantAct(t, d, db.Command{Verb: db.Pause, ClientID: "a"}, true, nil)
		wantAct(t, d, db.Command{Verb: db.Pause, ClientID: "b"}, true, nil)
		want(1, 2)
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq}, true, nil)
		wantAct(t, d, db.Command{Verb: db.Resume, ClientID: "b"}, true, nil)
		want(0, 1)
	})
}

// acceptedAtText is the statement as it is prepared.
func acceptedAtText(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("queries/read.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "-- name: AcceptedAt :one\n")
	text, _, _ = strings.Cut(text, ";")
	return strings.Replace(text, "sqlc.arg(seq)", "?1", 1)
}
