package sqlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/internal/commit"
	"inturn/internal/faultvfs"
)

// inside runs fn on the committer's goroutine, as an operation.
func inside(fn func(*writer) error) *operation {
	return &operation{Work: workFunc(fn), RetriedWhenFull: true}
}

func onWriter(t testing.TB, d *DB, fn func(*writer) error) {
	t.Helper()
	op := inside(fn)
	submit(t, d, op)
	wait(t, "the committer", op.Ended())
	if op.Err != nil {
		t.Fatal(op.Err)
	}
}

// fill lets the file grow by n pages and no more.
func fill(t *testing.T, d *DB, n int) {
	t.Helper()
	onWriter(t, d, func(w *writer) error {
		var pages int
		if err := w.conn.SQL.QueryRowContext(background, "PRAGMA page_count").Scan(&pages); err != nil {
			return err
		}
		return w.conn.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages+n))
	})
}

// big is an event or a note that needs pages of its own.
var big = strings.Repeat("x", 64<<10)

func bigEvent(client, message string) db.Event {
	ev := event(client, message)
	ev.Payload = []byte(`"` + big + `"`)
	return ev
}

// TestFullInTheMiddleOfAGroup: appends are told, settles are kept and end once there
// is room, without a failed attempt, and what is not ready says so.
func TestFullInTheMiddleOfAGroup(t *testing.T) {
	t.Parallel()
	for name, swallow := range map[string]bool{"told": false, "swallowed by the effect": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEach(t, func(t *testing.T, d *DB) {
				a, b := appendEvent(t, d, event("a", "m")), appendEvent(t, d, event("b", "m"))
				fill(t, d, 0)
				small := settling(done(a, note("small")))
				large := settling(done(b, func(tx db.Tx) (any, error) {
					_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES (?)", big)
					if swallow {
						tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES ('bad')")
						return nil, nil
					}
					return nil, err
				}))
				added := appending(bigEvent("c", "m"))
				g := newGate()
				if err := d.committer.Submit(opOf(g)); err != nil {
					t.Fatal(err)
				}
				wait(t, "the gate", g.entered)
				for _, op := range []any{small, large, added} {
					if err := d.committer.Submit(opOf(op)); err != nil {
						t.Fatal(err)
					}
				}
				close(g.leave)
				wait(t, "the append's answer", added.Ended())
				if !errors.Is(added.Err, db.ErrStorageFull) {
					t.Errorf("the append: %v", added.Err)
				}
				// The refusal is made before the append is answered, so both hold until the next try.
				if err := d.Ready(); !errors.Is(err, db.ErrStorageFull) {
					t.Errorf("ready: %v", err)
				}
				if _, err := d.Append(t.Context(), event("c", "early")); !errors.Is(err, db.ErrStorageFull) {
					t.Errorf("an append while it is full: %v", err)
				}
				wait(t, "the small settle", small.Ended())
				if small.Done != 1 || small.Err != nil {
					t.Errorf("the small settle: %d, %v", small.Done, small.Err)
				}
				select {
				case <-large.Ended():
					t.Errorf("the large settle has ended: %d, %v", large.Done, large.Err)
				default:
				}
				makeRoom(t, d)
				wait(t, "the large settle", large.Ended())
				if large.Done != 1 || large.Err != nil {
					t.Errorf("the large settle: %d, %v", large.Done, large.Err)
				}
				if err := d.Ready(); err != nil {
					t.Errorf("not ready once there is room: %v", err)
				}
				appendEvent(t, d, bigEvent("c", "m"))
				want := []string{"small", big}
				if swallow {
					want = []string{"bad", "small", big}
				}
				wantRows(t, d, noteRows, want...)
				wantRows(t, d, pendingRows, "c 3 3 1")
				if d.Err() != nil {
					t.Errorf("the storage has failed: %v", d.Err())
				}
			})
		})
	}
}

// makeRoom takes its turn among the settles: one that doesn't fit holds up no other.
func makeRoom(t *testing.T, d *DB) {
	t.Helper()
	onWriter(t, d, func(w *writer) error { return w.conn.Exec("PRAGMA max_page_count = 1000000") })
}

func TestFullWhileClosing(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		a := appendEvent(t, d, event("a", "m"))
		fill(t, d, 0)
		op := settling(done(a, func(tx db.Tx) (any, error) {
			_, err := tx.ExecContext(tx.Context(), "INSERT INTO notes (text) VALUES (?)", big)
			return nil, err
		}))
		if err := d.committer.Submit(opOf(op)); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		wait(t, "the settle's answer", op.Ended())
		if op.Done != 0 || !errors.Is(op.Err, db.ErrStorageFull) {
			t.Errorf("settled %d, %v", op.Done, op.Err)
		}
	})
}

// TestSpaceReserve: appends are refused early, while settles still have room.
func TestSpaceReserve(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		a := appendEvent(t, d, event("a", "m"))
		low := fmt.Errorf("%w: nearly", db.ErrStorageFull)
		s := d.space
		s.mu.Lock()
		s.dir, s.at, s.err = "/", time.Now().Add(time.Hour), low
		s.mu.Unlock()
		if _, err := d.Append(t.Context(), event("a", "n")); !errors.Is(err, db.ErrStorageFull) {
			t.Errorf("append: %v", err)
		}
		if err := d.Ready(); !errors.Is(err, db.ErrStorageFull) {
			t.Errorf("ready: %v", err)
		}
		settle(t, d, done(a, note("a")))
	})
}

// The WAL of what is settled while the disk is nearly full doesn't eat up the room
// that is kept for it.
func TestWALOnANearlyFullDisk(t *testing.T) {
	t.Parallel()
	d := open(t, options(t, tempFile(t)))
	big := event("a", "big")
	big.Payload = json.RawMessage(`"` + strings.Repeat("x", 2<<20) + `"`)
	ev := appendEvent(t, d, big)
	if n := walSize(t, d); n < 2<<20 {
		t.Fatalf("the WAL has %d bytes", n)
	}
	s := d.space
	s.mu.Lock()
	s.at, s.err = time.Now().Add(time.Hour), db.ErrStorageFull
	s.mu.Unlock()
	settle(t, d, done(ev, note("a")))
	next := inside(func(*writer) error { return nil }) // its turn comes after the first one's group has been tidied up
	if err := d.committer.Submit(opOf(next)); err != nil {
		t.Fatal(err)
	}
	wait(t, "the next group", next.Ended())
	if n := walSize(t, d); n > 1<<20 {
		t.Errorf("the WAL still has %d bytes", n)
	}
}

func walSize(t *testing.T, d *DB) int64 {
	t.Helper()
	info, err := os.Stat(d.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestSomebodyElseWrites: a person holds the write lock for longer than an append waits.
func TestSomebodyElseWrites(t *testing.T) {
	t.Parallel()
	d := open(t, options(t, tempFile(t)))
	a := appendEvent(t, d, event("a", "m"))
	person := raw(t, d.path)
	run(t, person, "BEGIN IMMEDIATE")
	op := settling(done(a, note("a")))
	if err := d.committer.Submit(opOf(op)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := d.Append(t.Context(), event("b", "m"))
	var locked *db.LockedError
	if !errors.As(err, &locked) || !errors.Is(err, db.ErrOverloaded) {
		t.Errorf("append: %v", err)
	}
	if err := d.Ready(); !errors.As(err, &locked) {
		t.Errorf("ready: %v", err)
	}
	if waited := time.Since(began); waited < commit.MaxAppendWait {
		t.Errorf("refused after %v", waited)
	}
	select {
	case <-op.Ended():
		t.Fatalf("the settle has ended: %v", op.Err)
	default:
	}
	if _, err := d.Find(t.Context(), "a", "m"); err != nil {
		t.Errorf("reads go on: %v", err)
	}
	run(t, person, "COMMIT")
	wait(t, "the settle", op.Ended())
	if op.Done != 1 || op.Err != nil {
		t.Errorf("settled %d, %v", op.Done, op.Err)
	}
	wantRows(t, d, "SELECT client_id FROM outbox", "a") // the refused one was not executed
	appendEvent(t, d, event("b", "m"))
	d.Close()
	wantSound(t, d.path)
}

// TestFenced: whoever lost the file writes nothing, whatever the operation.
func TestFenced(t *testing.T) {
	for _, name := range []string{"append", "settle", "hold", "close"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, options(t, tempFile(t)))
			a := appendEvent(t, d, event("a", "m"))
			other := raw(t, d.path)
			run(t, other, "UPDATE owner SET epoch = epoch + 1, clean = 0")
			var err error
			switch name {
			case "append":
				_, err = d.Append(t.Context(), event("b", "m"))
			case "settle":
				_, err = d.Settle([]db.Settlement{done(a, note("a"))})
			case "hold":
				err = d.Hold(db.Hold{Event: a, Attempts: 1, NextAt: time.UnixMicro(1)})
			}
			if name != "close" {
				if !errors.Is(err, db.ErrFenced) {
					t.Errorf("got %v", err)
				}
				wait(t, "Failed", d.Failed())
				if !errors.Is(d.Err(), db.ErrFenced) || !errors.Is(d.Ready(), db.ErrFenced) {
					t.Errorf("Err %v, Ready %v", d.Err(), d.Ready())
				}
				if _, err := d.Append(t.Context(), event("c", "m")); !errors.Is(err, db.ErrFenced) {
					t.Errorf("a later append: %v", err)
				}
			}
			if err := d.Close(); !errors.Is(err, db.ErrFenced) {
				t.Errorf("close: %v", err)
			}
			for query, want := range map[string]string{
				"SELECT epoch, clean, next_seq, next_settled FROM owner": "[2 0 2 1]",
				pendingRows: "[a 1 1 1]", accountRows: "[a 0 - 0 - -]", noteRows: "[]", resultRows: "[]",
			} {
				if got, err := lines(other, query); err != nil || fmt.Sprint(got) != want {
					t.Errorf("%s: %v, %v, want %s", query, got, err, want)
				}
			}
			other.Close()
			wantSound(t, d.path)
		})
	}
}

// TestStorageErrors: what an operation meets, and what its neighbours are told.
func TestStorageErrors(t *testing.T) {
	ioErr := errors.New("disk I/O error")
	tests := []struct {
		name    string
		class   commit.Class
		times   int // that it comes
		append  error
		settle  error
		failure error
	}{
		{"an I/O error that goes away", commit.IO, 1, nil, nil, nil},
		{"an I/O error that stays", commit.IO, 2, db.ErrUnavailable, db.ErrUnavailable, ioErr},
		{"damage", commit.Corrupt, 1, db.ErrUnavailable, db.ErrUnavailable, db.ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			forEach(t, func(t *testing.T, d *DB) {
				a := appendEvent(t, d, event("a", "m"))
				settled, added := settling(done(a, note("a"))), appending(event("b", "m"))
				times := 0
				breaks := inside(func(*writer) error {
					if times++; times <= test.times {
						return &commit.Error{Class: test.class, Err: ioErr}
					}
					return nil
				})
				g := newGate()
				d.committer.Submit(opOf(g))
				wait(t, "the gate", g.entered)
				for _, op := range []any{breaks, settled, added} {
					if err := d.committer.Submit(opOf(op)); err != nil {
						t.Fatal(err)
					}
				}
				close(g.leave)
				wait(t, "the settle", settled.Ended())
				wait(t, "the append", added.Ended())
				if !errors.Is(settled.Err, test.settle) || !errors.Is(added.Err, test.append) {
					t.Errorf("settle %v, append %v", settled.Err, added.Err)
				}
				if !errors.Is(d.Err(), test.failure) {
					t.Errorf("failure %v", d.Err())
				}
				if test.failure != nil {
					wait(t, "Failed", d.Failed())
					if _, err := d.Append(t.Context(), event("c", "m")); !errors.Is(err, db.ErrUnavailable) {
						t.Errorf("a later append: %v", err)
					}
					wantRows(t, d, pendingRows, "a 1 1 1")
				} else {
					wantRows(t, d, pendingRows, "b 2 2 1")
				}
			})
		})
	}
}

// TestOutcomeUnknown: an I/O error of the COMMIT itself.
func TestOutcomeUnknown(t *testing.T) {
	path := tempFile(t)
	v, stop, err := faultvfs.Watch(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	d := open(t, options(t, path))
	v.Inject(faultvfs.Fault{Op: faultvfs.Sync, Kind: faultvfs.WAL, Errno: syscall.EIO})
	if _, err := d.Append(t.Context(), event("c", "m")); !errors.Is(err, db.ErrOutcomeUnknown) || !errors.Is(d.Ready(), db.ErrUnavailable) {
		t.Errorf("told %v, ready %v", err, d.Ready())
	}
	wait(t, "Failed", d.Failed())
	d.Close()
}

// TestLogs: no payload and no text of an event is logged, whatever goes wrong.
func TestLogs(t *testing.T) {
	var log lockedBuffer
	o := options(t, ":memory:")
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	d := open(t, o)
	ev := event("a", "m")
	ev.Payload = []byte(`"secret"`)
	a := appendEvent(t, d, ev)
	d.Settle([]db.Settlement{done(a, func(db.Tx) (any, error) { panic("oh") })})
	d.Settle([]db.Settlement{done(a, func(tx db.Tx) (any, error) { time.Sleep(2 * db.SlowEffect); return "secret", nil })})
	d.Close()
	text := log.String()
	if strings.Contains(text, "secret") || !strings.Contains(text, "panicked") || !strings.Contains(text, "slow effect") {
		t.Errorf("log: %s", text)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestLateAppendsAreRefused before they are executed, and nobody else is.
func TestLateAppendsAreRefused(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		a := appendEvent(t, d, event("a", "m"))
		late, old, fresh := appending(event("a", "late")), settling(done(a, nil)), appending(event("a", "fresh"))
		late.Began, old.Began = time.Now().Add(-2*commit.MaxAppendWait), time.Now().Add(-time.Hour)
		together(t, d, late, old, fresh)
		if !errors.Is(late.Err, db.ErrOverloaded) || old.Err != nil || fresh.Err != nil {
			t.Errorf("late %v, settle %v, fresh %v", late.Err, old.Err, fresh.Err)
		}
		wantRows(t, d, "SELECT message_id FROM outbox ORDER BY seq", "m", "fresh")
	})
}
