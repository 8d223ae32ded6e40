package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"inturn/db"
)

// The queries show every column that a transition may touch.
const (
	outboxRows   = "SELECT seq, client_id, message_id, type, payload, request_id, coalesce(attrs, '-'), received_at > 1e15 FROM outbox ORDER BY seq"
	pendingRows  = "SELECT client_id, turn, seq, run FROM pending ORDER BY client_id, turn"
	accountRows  = "SELECT client_id, parked, coalesce(head_seq, '-'), attempts, coalesce(next_at, '-'), coalesce(last_error, '-') FROM accounts ORDER BY client_id"
	resultRows   = "SELECT seq, run, turn, settled, status, attempts, started_at, finished_at > 1e15, coalesce(output, '-'), coalesce(error, '-') FROM results ORDER BY seq"
	counterRows  = "SELECT next_seq, next_settled FROM owner"
	noteRows     = "SELECT text FROM notes ORDER BY text"
	emptyAccount = "c 0 - 0 - -"
)

// TestTransitions is the table of operations in docs/design/storage.md, on rows.
func TestTransitions(t *testing.T) {
	wrong := errors.New("wrong")
	retryAt := time.UnixMicro(5_000_000_000)
	// Each step starts from: c has m1 (seq 1), m2 (seq 2); d has m1 (seq 3).
	base := func(t *testing.T, d *DB) (c1, c2, d1 db.Event) {
		return appendEvent(t, d, event("c", "m1")), appendEvent(t, d, event("c", "m2")), appendEvent(t, d, event("d", "m1"))
	}
	type want struct{ pending, accounts, results, notes, counters []string }
	tests := []struct {
		name string
		do   func(t *testing.T, d *DB, c1, c2, d1 db.Event)
		want want
	}{
		{"append", func(*testing.T, *DB, db.Event, db.Event, db.Event) {}, want{
			pending:  []string{"c 1 1 1", "c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			counters: []string{"4 1"},
		}},
		{"append again", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			r, err := d.Append(t.Context(), event("c", "m1"))
			if err != nil || !r.Duplicate || r.Seq != 1 || r.State != db.Pending || r.Result != nil {
				t.Errorf("a repeat got %+v, %v", r, err)
			}
		}, want{
			pending:  []string{"c 1 1 1", "c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			counters: []string{"4 1"},
		}},
		{"append another payload or type under the same identity", func(t *testing.T, d *DB, _, _, _ db.Event) {
			other := event("c", "m2")
			other.Payload = json.RawMessage(`{"n":2}`)
			wantReused(t, d, other, 2)
			other = event("c", "m2")
			other.Type = "other"
			wantReused(t, d, other, 2)
		}, want{
			pending:  []string{"c 1 1 1", "c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			counters: []string{"4 1"},
		}},
		{"append again after the settle", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			settle(t, d, done(c1, note("n")))
			r, err := d.Append(t.Context(), event("c", "m1"))
			if err != nil || !r.Duplicate || r.State != db.Done || r.Result == nil || string(r.Result.Output) != `"n"` {
				t.Errorf("a repeat of a finished event got %+v, %v", r, err)
			}
		}, want{
			pending:  []string{"c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			results:  []string{`1 1 1 1 done 1 1000 1 "n" -`},
			notes:    []string{"n"}, counters: []string{"4 2"},
		}},
		{"settle done", func(t *testing.T, d *DB, c1, c2, d1 db.Event) {
			settle(t, d, done(d1, note("d1")))
			settle(t, d, done(c1, note("c1")), done(c2, nil))
		}, want{
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			results:  []string{`1 1 1 2 done 1 1000 1 "c1" -`, `2 1 2 3 done 1 1000 1 - -`, `3 1 3 1 done 1 1000 1 "d1" -`},
			notes:    []string{"c1", "d1"}, counters: []string{"4 4"},
		}},
		{"settle dead runs no effect", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			c1.Attempt = 3
			settle(t, d, db.Settlement{Event: c1, Status: db.Dead, Effect: note("never"), Error: "no such phone\xff", StartedAt: time.UnixMicro(7)})
		}, want{
			pending:  []string{"c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			results:  []string{"1 1 1 1 dead 3 7 1 - no such phone\uFFFD"}, counters: []string{"4 2"},
		}},
		{"settle what is settled", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			settle(t, d, done(c1, note("once")))
			if n, err := d.Settle([]db.Settlement{done(c1, note("twice"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
				t.Errorf("settled %d, %v", n, err)
			}
		}, want{
			pending:  []string{"c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			results:  []string{`1 1 1 1 done 1 1000 1 "once" -`}, notes: []string{"once"}, counters: []string{"4 2"},
		}},
		{"settle another run, turn or account", func(t *testing.T, d *DB, c1, _, d1 db.Event) {
			run, turn, client := c1, c1, c1
			run.Run, turn.Position, client.ClientID = 2, 9, "d"
			for _, ev := range []db.Event{run, turn, client} {
				if n, err := d.Settle([]db.Settlement{done(ev, note("never"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
					t.Errorf("settled %d, %v", n, err)
				}
			}
		}, want{
			pending:  []string{"c 1 1 1", "c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			counters: []string{"4 1"},
		}},
		{"a slice ends at its first failure", func(t *testing.T, d *DB, c1, c2, _ db.Event) {
			c3 := appendEvent(t, d, event("c", "m3"))
			n, err := d.Settle([]db.Settlement{done(c1, note("c1")),
				done(c2, func(tx db.Tx) (any, error) { note("c2")(tx); return nil, wrong }), done(c3, note("c3"))})
			if n != 1 || !errors.Is(err, wrong) {
				t.Errorf("settled %d, %v", n, err)
			}
		}, want{
			pending:  []string{"c 2 2 1", "c 4 4 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			results:  []string{`1 1 1 1 done 1 1000 1 "c1" -`}, notes: []string{"c1"}, counters: []string{"5 2"},
		}},
		{"hold for a retry", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			hold(t, d, db.Hold{Event: c1, Attempts: 2, NextAt: retryAt, Error: "busy"})
		}, want{
			pending:  []string{"c 1 1 1", "c 2 2 1", "d 3 3 1"},
			accounts: []string{"c 0 1 2 5000000000 busy", "d 0 - 0 - -"},
			counters: []string{"4 1"},
		}},
		{"park", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			hold(t, d, db.Hold{Event: c1, Attempts: 2, NextAt: retryAt, Error: "busy"})
			hold(t, d, db.Hold{Event: c1, Attempts: 20, Park: true, Error: "gone"})
		}, want{
			pending:  []string{"c 1 1 1", "c 2 2 1", "d 3 3 1"},
			accounts: []string{"c 1 1 20 - gone", "d 0 - 0 - -"},
			counters: []string{"4 1"},
		}},
		{"release", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			hold(t, d, db.Hold{Event: c1, Attempts: 1, NextAt: retryAt})
			hold(t, d, db.Hold{Event: c1})
		}, want{
			pending:  []string{"c 1 1 1", "c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			counters: []string{"4 1"},
		}},
		{"settle after retries", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			hold(t, d, db.Hold{Event: c1, Attempts: 1, NextAt: retryAt, Error: "busy"})
			c1.Attempt = 2
			s := done(c1, nil)
			s.Held = true
			settle(t, d, s)
		}, want{
			pending:  []string{"c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			results:  []string{"1 1 1 1 done 2 1000 1 - -"}, counters: []string{"4 2"},
		}},
		{"hold what is settled", func(t *testing.T, d *DB, c1, _, _ db.Event) {
			settle(t, d, done(c1, nil))
			if err := d.Hold(db.Hold{Event: c1, Attempts: 1, NextAt: retryAt}); !errors.Is(err, db.ErrSuperseded) {
				t.Errorf("hold: %v", err)
			}
		}, want{
			pending:  []string{"c 2 2 1", "d 3 3 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -"},
			results:  []string{"1 1 1 1 done 1 1000 1 - -"}, counters: []string{"4 2"},
		}},
		{"emit new, again, and something else", func(t *testing.T, d *DB, c1, c2, d1 db.Event) {
			emitted := event("e", "x")
			emitted.RequestID = ""
			emitted.Payload = json.RawMessage(` {"n" : 1} `)
			emit := func(ev db.Event) db.Effect { return func(tx db.Tx) (any, error) { return nil, tx.Emit(ev) } }
			settle(t, d, done(c1, emit(emitted)))
			settle(t, d, done(c2, emit(emitted)))
			other := emitted
			other.Payload = json.RawMessage(`{"n":2}`)
			n, err := d.Settle([]db.Settlement{done(d1, emit(other))})
			if reused, ok := errors.AsType[*db.IDReusedError](err); n != 0 || !ok || reused.Seq != 4 {
				t.Errorf("settled %d, %v", n, err)
			}
			if got := rows(t, d, "SELECT request_id, payload FROM outbox WHERE client_id = 'e'"); len(got) != 1 || got[0] != `r-m1 {"n":1}` {
				t.Errorf("emitted %q", got)
			}
		}, want{
			pending:  []string{"d 3 3 1", "e 4 4 1"},
			accounts: []string{emptyAccount, "d 0 - 0 - -", "e 0 - 0 - -"},
			results:  []string{"1 1 1 1 done 1 1000 1 - -", "2 1 2 2 done 1 1000 1 - -"}, counters: []string{"5 3"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			forEach(t, func(t *testing.T, d *DB) {
				c1, c2, d1 := base(t, d)
				test.do(t, d, c1, c2, d1)
				wantRows(t, d, pendingRows, test.want.pending...)
				wantRows(t, d, accountRows, test.want.accounts...)
				wantRows(t, d, resultRows, test.want.results...)
				wantRows(t, d, noteRows, test.want.notes...)
				wantRows(t, d, counterRows, test.want.counters...)
				if got := rows(t, d, outboxRows); len(got) < 3 || got[0] != `1 c m1 note {"n":1} r-m1 - 1` {
					t.Errorf("outbox: %q", got)
				}
			})
		})
	}
}

func hold(t *testing.T, d *DB, h db.Hold) {
	t.Helper()
	if err := d.Hold(h); err != nil {
		t.Fatalf("hold: %v", err)
	}
}

func wantReused(t *testing.T, d *DB, ev db.Event, seq int64) {
	t.Helper()
	_, err := d.Append(t.Context(), ev)
	if reused, ok := errors.AsType[*db.IDReusedError](err); !ok || reused.Seq != seq {
		t.Errorf("got %v, want an IDReusedError of seq %d", err, seq)
	}
}

func TestLimits(t *testing.T) {
	for _, path := range []string{":memory:", tempFile(t)} {
		o := options(t, path)
		o.MaxPending, o.MaxAccountPending = 3, 2
		d := open(t, o)
		c1 := appendEvent(t, d, event("c", "m1"))
		appendEvent(t, d, event("c", "m2"))
		if _, err := d.Append(t.Context(), event("c", "m3")); !errors.Is(err, db.ErrAccountFull) {
			t.Errorf("a third event of the account: %v", err)
		}
		appendEvent(t, d, event("d", "m1"))
		if _, err := d.Append(t.Context(), event("e", "m1")); !errors.Is(err, db.ErrBacklogFull) {
			t.Errorf("a fourth event: %v", err)
		}
		if r, err := d.Append(t.Context(), event("c", "m2")); err != nil || !r.Duplicate {
			t.Errorf("a repeat needs no room, got %+v, %v", r, err)
		}
		// What is accepted may emit beyond the limits, and each settle makes room.
		settle(t, d, done(c1, func(tx db.Tx) (any, error) { return nil, tx.Emit(event("c", "m4")) }))
		if _, err := d.Append(t.Context(), event("c", "m5")); !errors.Is(err, db.ErrBacklogFull) {
			t.Errorf("full again: %v", err)
		}
		wantRows(t, d, pendingRows, "c 2 2 1", "c 4 4 1", "d 3 3 1")
	}
}

// TestRefusedGroupLeavesNoTrace: the writerState of the file in memory follows what is undone.
func TestRefusedGroupLeavesNoTrace(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var heard []string
		d.OnAppend(func(events []db.Event) {
			for _, ev := range events {
				heard = append(heard, fmt.Sprint(ev.ClientID, " ", ev.Seq))
			}
		})
		c1 := appendEvent(t, d, event("c", "m1"))
		bad := settling(done(c1, func(tx db.Tx) (any, error) {
			return nil, errors.Join(tx.Emit(event("new", "x")), errors.New("wrong"))
		}))
		together(t, d, bad, appending(event("c", "m2")))
		if bad.Err == nil || bad.Done != 0 {
			t.Errorf("settled %d, %v", bad.Done, bad.Err)
		}
		appendEvent(t, d, event("new", "y")) // its account's row must be made: the emit's was undone
		wantRows(t, d, outboxRows, `1 c m1 note {"n":1} r-m1 - 1`, `2 c m2 note {"n":1} r-m2 - 1`, `3 new y note {"n":1} r-y - 1`)
		wantRows(t, d, accountRows, emptyAccount, "new 0 - 0 - -")
		d.guard.Lock()
		defer d.guard.Unlock()
		if want := "[c 1 c 2 new 3]"; fmt.Sprint(heard) != want {
			t.Errorf("heard of %v, want %s", heard, want)
		}
		if w := d.w; w.total != 3 || w.backlog["c"] != 2 || w.backlog["new"] != 1 {
			t.Errorf("the backlog is %d %v", w.total, w.backlog)
		}
	})
}

func TestRecovery(t *testing.T) {
	path := tempFile(t)
	d := open(t, options(t, path))
	if accounts, _, unclean := d.Backlog(); len(accounts) != 0 || unclean {
		t.Errorf("a new file has backlog %v, unclean %v", accounts, unclean)
	}
	a1 := appendEvent(t, d, event("a", "m1"))
	appendEvent(t, d, event("a", "m2"))
	b1 := appendEvent(t, d, event("b", "m1"))
	c1 := appendEvent(t, d, event("c", "m1"))
	at := time.UnixMicro(9_000_000)
	hold(t, d, db.Hold{Event: a1, Attempts: 3, NextAt: at, Error: "busy"})
	hold(t, d, db.Hold{Event: b1, Attempts: 20, Park: true, Error: "gone"})
	settle(t, d, done(c1, nil))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, clean := range []bool{true, false} {
		d = open(t, options(t, path))
		accounts, _, unclean := d.Backlog()
		if unclean == clean {
			t.Errorf("unclean is %v after a close in order: %v", unclean, clean)
		}
		want := []db.Backlog{{ClientID: "a", Events: 2, HeadPosition: 1, HeadSeq: 1, Attempts: 3, NextAt: at}, {ClientID: "b", Events: 1, HeadPosition: 3, HeadSeq: 3, Attempts: 20, Parked: true}}
		if fmt.Sprint(accounts) != fmt.Sprint(want) {
			t.Errorf("backlog\n got %v\nwant %v", accounts, want)
		}
		if clean {
			kill(t, d)
		}
	}
	// Counters go on where they were, and the backlog counts against the limits.
	if ev := appendEvent(t, d, event("z", "m1")); ev.Seq != 5 {
		t.Errorf("seq %d after a restart, want 5", ev.Seq)
	}
	if got := d.Epoch(); got != 3 {
		t.Errorf("epoch %d, want 3", got)
	}
}

// kill ends d as a crash would: nothing is said to the file.
func kill(t *testing.T, d *DB) {
	t.Helper()
	d.closeOnce.Do(func() {
		d.committer.Close()
		d.waiters.close()
		if err := d.abandon(); err != nil {
			t.Error(err)
		}
	})
}

func TestClosed(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		c1 := appendEvent(t, d, event("c", "m1"))
		waiting := make(chan error, 1)
		ch, leave, err := d.waiters.join(c1.Seq)
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		// Everything taken is committed and answered, everything later refused.
		g := newGate()
		op := appending(event("c", "m2"))
		if err := errors.Join(d.committer.Submit(opOf(g)), d.committer.Submit(opOf(op))); err != nil {
			t.Fatal(err)
		}
		wait(t, "the gate", g.entered)
		go func() { waiting <- d.Close() }()
		for d.Ready() == nil { // until Close has begun
			time.Sleep(time.Millisecond)
		}
		if _, err := d.Append(context.Background(), event("c", "m3")); !errors.Is(err, db.ErrClosed) {
			t.Errorf("append while closing: %v", err)
		}
		close(g.leave)
		if err := <-waiting; err != nil {
			t.Errorf("close: %v", err)
		}
		wait(t, "the append's end", op.Ended())
		if op.Err != nil || op.seq != 2 {
			t.Errorf("what was taken before: seq %d, %v", op.seq, op.Err)
		}
		if r, ok := <-ch; ok {
			t.Errorf("the waiter got %v at the end", r)
		}
		if _, err := d.Wait(context.Background(), c1.Seq, nil); !errors.Is(err, db.ErrClosed) {
			t.Errorf("wait after the end: %v", err)
		}
		if err := d.Hold(db.Hold{Event: c1}); !errors.Is(err, db.ErrClosed) {
			t.Errorf("hold after the end: %v", err)
		}
		if _, err := d.Settle([]db.Settlement{done(c1, nil)}); !errors.Is(err, db.ErrClosed) {
			t.Errorf("settle after the end: %v", err)
		}
	})
}
