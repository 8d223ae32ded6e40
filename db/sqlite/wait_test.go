package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

type waited struct {
	result *db.Result
	err    error
}

// waitFor lets somebody wait for seq, who was alone in that, and returns what they
// will be told, once they wait or know it.
func waitFor(t testing.TB, d *DB, seq int64) <-chan waited {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	told := make(chan waited, 1)
	go func() {
		r, err := d.Wait(ctx, seq, nil)
		told <- waited{r, err}
	}()
	for d.waiters.n.Load() == 0 && len(told) == 0 {
		runtime.Gosched()
	}
	return told
}

// unreadable lets Wait's reads fail until the returned function is called.
func unreadable(t testing.TB, d *DB) (restore func()) {
	t.Helper()
	closed, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	reads := d.q
	d.q = q.New(closed)
	return func() { d.q = reads }
}

// TestWaitIsToldWhatIsStored compares what a waiter is handed, without a read, with
// what the file says, and with what somebody is told who comes later.
func TestWaitIsToldWhatIsStored(t *testing.T) {
	gives := func(out any) func(db.Event) db.Settlement {
		return func(ev db.Event) db.Settlement { return done(ev, func(db.Tx) (any, error) { return out, nil }) }
	}
	dies := func(reason string) func(db.Event) db.Settlement {
		return func(ev db.Event) db.Settlement { return db.Settlement{Event: ev, Status: db.Dead, Error: reason} }
	}
	forEach(t, func(t *testing.T, d *DB) {
		same := func(what, messageID string, told <-chan waited, restore func()) {
			t.Helper()
			got := <-told
			restore()
			found, err := d.Find(t.Context(), "c", messageID)
			if err := errors.Join(err, got.err); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if !reflect.DeepEqual(got.result, found.Result) {
				t.Errorf("%s: handed\n%+v, stored\n%+v", what, got.result, found.Result)
			}
			if later := <-waitFor(t, d, found.Seq); later.err != nil || !reflect.DeepEqual(later.result, found.Result) {
				t.Errorf("%s: told later\n%+v, %v, stored\n%+v", what, later.result, later.err, found.Result)
			}
		}
		for i, tt := range []struct {
			name string
			ends func(db.Event) db.Settlement
		}{
			{"no effect", func(ev db.Event) db.Settlement { return done(ev, nil) }}, {"nothing", gives(nil)}, {"a number", gives(7)},
			{"text", gives("a<b>\u2028ü\"\\\x00")}, {"an object", gives(map[string]any{"x": []int{1, 2}, "y": nil})},
			{"the largest", gives(strings.Repeat("x", db.MaxOutput-2))},
			{"dead", dies("wrong")}, {"dead, a bad text", dies("\x00\xff\xfe ü")}, {"dead, a long text", dies(strings.Repeat("ü", db.MaxReason))}, {"dead for no reason", dies("")},
		} {
			messageID := fmt.Sprint(i)
			ev := appendEvent(t, d, event("c", messageID))
			ev.Attempt = 3
			restore := unreadable(t, d)
			told := waitFor(t, d, ev.Seq)
			settle(t, d, tt.ends(ev))
			same(tt.name, messageID, told, restore)
		}

		skipped := appendEvent(t, d, event("c", "skipped"))
		restore := unreadable(t, d)
		told := waitFor(t, d, skipped.Seq)
		wantAct(t, d, db.Command{Verb: db.Skip, ClientID: "c", Seq: skipped.Seq, Who: "somebody", Reason: "it is wrong"}, true, nil)
		same("skipped", "skipped", told, restore)

		// Another run of it: a read says that it is pending, and the wait goes on.
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: skipped.Seq, Run: 1}, true, nil)
		told = waitFor(t, d, skipped.Seq)
		events, _, err := d.PendingAfter(t.Context(), "c", 0, 1, 1000)
		if err != nil || len(events) != 1 {
			t.Fatalf("pending: %v, %v", events, err)
		}
		settle(t, d, done(events[0], nil))
		same("another run", "skipped", told, func() {})

		// The result is handed over also to who came while it was being written.
		ev := appendEvent(t, d, event("c", "late"))
		begin, end := newGate(), newGate()
		op := settling(done(ev, nil))
		if err := errors.Join(d.committer.Submit(opOf(begin)), d.committer.Submit(opOf(op)), d.committer.Submit(opOf(end))); err != nil {
			t.Fatal(err)
		}
		close(begin.leave)
		wait(t, "the end of the group", end.entered)
		restore = unreadable(t, d)
		told = waitFor(t, d, ev.Seq)
		close(end.leave)
		same("late", "late", told, restore)

		// What was rolled back is not told: it goes well until its neighbour fails, and
		// fails when it is run again.
		ev = appendEvent(t, d, event("c", "again"))
		neighbour := appendEvent(t, d, event("d", "fails"))
		told = waitFor(t, d, ev.Seq)
		wrong, calls := errors.New("wrong"), 0
		first := settling(done(ev, func(db.Tx) (any, error) {
			if calls++; calls > 1 {
				return nil, wrong
			}
			return "first", nil
		}))
		second := settling(done(neighbour, func(db.Tx) (any, error) { return nil, wrong }))
		if together(t, d, first, second); calls != 2 || first.Err != wrong || second.Err != wrong {
			t.Fatalf("called %d times, %v, %v", calls, first.Err, second.Err)
		}
		settle(t, d, done(ev, note("second")))
		same("the second try", "again", told, func() {})
	})
}

func TestWaitEnds(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		c1 := appendEvent(t, d, event("c", "m1"))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ended, end := context.WithCancel(ctx)
		end()
		if _, err := d.Wait(ended, c1.Seq, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("wait with an ended context: %v", err)
		}
		stop := make(chan struct{})
		close(stop)
		if _, err := d.Wait(ctx, c1.Seq, stop); !errors.Is(err, db.ErrClosed) {
			t.Errorf("wait that was stopped: %v", err)
		}
		told := waitFor(t, d, c1.Seq)
		if _, err := d.Erase("c", "a test", ""); err != nil {
			t.Fatal(err)
		}
		if got := <-told; !errors.Is(got.err, db.ErrNotFound) {
			t.Errorf("wait for what was erased: %+v", got)
		}
		if n := d.waiters.n.Load(); n != 0 {
			t.Errorf("%d waiters are left", n)
		}
	})
}

// What was settled before the file was opened is known at once.
func TestWaitAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "i.db")
	d := open(t, options(t, path))
	c1 := appendEvent(t, d, event("c", "m1"))
	settle(t, d, done(c1, nil))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, options(t, path))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r, err := d.Wait(ctx, c1.Seq, nil); err != nil || r.Status != db.Done {
		t.Errorf("%+v, %v", r, err)
	}
}
