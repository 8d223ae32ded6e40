package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

func mustAct(t testing.TB, d *DB, a db.Command) db.CommandResult {
	t.Helper()
	if a.Who == "" {
		a.Who = "op"
	}
	got, err := d.Execute(context.Background(), a)
	if err != nil {
		t.Fatalf("%s %s %d: %v", a.Verb, a.ClientID, a.Seq, err)
	}
	return got
}

// wantAct checks what an act answers, and that a refused one leaves no trace.
func wantAct(t testing.TB, d *DB, a db.Command, changed bool, is error) db.CommandResult {
	t.Helper()
	const all = "SELECT (SELECT count(*) FROM audit), (SELECT group_concat(seq || '/' || turn || '/' || run) FROM pending), (SELECT max(settled) FROM results)"
	before := rows(t, d, all)
	got, err := d.Execute(context.Background(), a)
	switch {
	case is == nil && err != nil || is != nil && !errors.Is(err, is):
		t.Errorf("%+v: told %v, want %v", a, err, is)
	case is == nil && got.Changed != changed:
		t.Errorf("%+v: answered %+v, want changed %t", a, got, changed)
	}
	if after := rows(t, d, all); is != nil && fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%+v was refused and has changed the file: %v, before %v", a, after, before)
	}
	return got
}

func wantMoved(t testing.TB, d *DB, a db.Command, head int64) {
	t.Helper()
	_, err := d.Execute(context.Background(), a)
	if moved, ok := errors.AsType[*db.HeadMovedError](err); !ok || moved.Seq != head {
		t.Errorf("%s of seq %d: %v, want that the head is %d", a.Verb, a.Seq, err, head)
	}
}

func dead(ev db.Event, why string) db.Settlement {
	return db.Settlement{Event: ev, Status: db.Dead, Error: why, StartedAt: time.UnixMicro(1000)}
}

func park(t testing.TB, d *DB, ev db.Event) {
	t.Helper()
	if err := d.Hold(db.Hold{Event: ev, Attempts: 20, Park: true, Error: "it failed"}); err != nil {
		t.Fatal(err)
	}
}

func TestRetryAndSkip(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		one, two := appendEvent(t, d, event("a", "1")), appendEvent(t, d, event("a", "2"))
		other := appendEvent(t, d, event("b", "1"))
		wantAct(t, d, db.Command{Verb: db.Retry, ClientID: "nobody", Seq: 1}, false, db.ErrNotFound)
		wantAct(t, d, db.Command{Verb: db.Retry, ClientID: "a", Seq: one.Seq}, false, nil) // nothing holds it
		park(t, d, one)
		wantMoved(t, d, db.Command{Verb: db.Retry, ClientID: "a", Seq: two.Seq}, one.Seq)
		wantMoved(t, d, db.Command{Verb: db.Skip, ClientID: "a", Seq: two.Seq}, one.Seq)
		wantMoved(t, d, db.Command{Verb: db.Skip, ClientID: "a", Seq: other.Seq}, one.Seq)
		wantRows(t, d, "SELECT parked, attempts FROM accounts WHERE client_id = 'a'", "1 20")
		wantAct(t, d, db.Command{Verb: db.Retry, ClientID: "a", Seq: one.Seq, Who: "op", Reason: "mended"}, true, nil)
		wantRows(t, d, "SELECT parked, attempts, head_seq, next_at FROM accounts WHERE client_id = 'a'", "0 0 <nil> <nil>")
		wantAct(t, d, db.Command{Verb: db.Retry, ClientID: "a", Seq: one.Seq}, false, nil)
		if err := d.Hold(db.Hold{Event: one, Attempts: 3, NextAt: time.Now().Add(time.Hour), Error: "why"}); err != nil {
			t.Fatal(err)
		}
		wantAct(t, d, db.Command{Verb: db.Retry, ClientID: "a", Seq: one.Seq}, true, nil) // of one that waits

		park(t, d, one)
		got := wantAct(t, d, db.Command{Verb: db.Skip, ClientID: "a", Seq: one.Seq, Who: "op", Reason: "never mind"}, true, nil)
		if got.HeadSeq != two.Seq || got.ClientID != "a" || got.ID == 0 || got.At.IsZero() {
			t.Errorf("skip answers %+v", got)
		}
		wantRows(t, d, "SELECT seq, status, attempts, error FROM results", fmt.Sprint(one.Seq, " dead 20 skipped by op: never mind"))
		wantRows(t, d, "SELECT parked, attempts, head_seq FROM accounts WHERE client_id = 'a'", "0 0 <nil>")
		wantRows(t, d, "SELECT seq FROM pending ORDER BY seq", fmt.Sprint(two.Seq), fmt.Sprint(other.Seq))
		wantAct(t, d, db.Command{Verb: db.Skip, ClientID: "a", Seq: one.Seq}, false, nil)  // it was done
		wantAct(t, d, db.Command{Verb: db.Retry, ClientID: "a", Seq: one.Seq}, false, nil) // so was this
		// What ran at that moment writes nothing.
		if n, err := d.Settle([]db.Settlement{done(one, note("late"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
			t.Errorf("a run that was skipped is settled: %d, %v", n, err)
		}
		if err := d.Hold(db.Hold{Event: one, Attempts: 1, Park: true, Error: "late"}); !errors.Is(err, db.ErrSuperseded) {
			t.Errorf("a run that was skipped is held: %v", err)
		}
		wantRows(t, d, "SELECT count(*) FROM notes", "0")
		wantAct(t, d, db.Command{Verb: db.Skip, ClientID: "a", Seq: two.Seq}, true, nil)
		wantMoved(t, d, db.Command{Verb: db.Skip, ClientID: "a", Seq: other.Seq}, 0)
		settle(t, d, done(other, nil))
		wantMoved(t, d, db.Command{Verb: db.Skip, ClientID: "b", Seq: other.Seq}, 0) // done, not skipped
		audit, err := d.Audit(t.Context(), db.AuditFilter{ClientID: "a", Verb: db.Skip, Limit: 10})
		if err != nil || len(audit) != 3 || audit[2].Command != (db.Command{Verb: db.Skip, ClientID: "a", Seq: one.Seq, Who: "op", Reason: "never mind"}) {
			t.Errorf("the audit of skips: %+v, %v", audit, err)
		}
		if first, err := d.Audit(t.Context(), db.AuditFilter{Before: audit[2].ID, Limit: 1}); err != nil || len(first) != 1 || first[0].ID >= audit[2].ID {
			t.Errorf("a page of the audit: %+v, %v", first, err)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var heard []string
		d.OnChange(func(list []db.Change) {
			for _, c := range list {
				heard = append(heard, fmt.Sprint(c.ClientID, c.Type, c.Paused))
			}
		})
		ev := appendEvent(t, d, event("a", "1"))
		wantAct(t, d, db.Command{Verb: db.Resume, ClientID: "nobody"}, false, db.ErrNotFound)
		for _, a := range []db.Command{{Verb: db.Pause, ClientID: "a"}, {Verb: db.Pause, Type: "note"}, {Verb: db.Pause}} {
			wantAct(t, d, a, true, nil)
			wantAct(t, d, a, false, nil)
		}
		settle(t, d, done(ev, nil)) // what runs may end
		pauses, err := d.Pauses(t.Context())
		if err != nil || len(pauses) != 2 || pauses[0].Type != "" || pauses[1].Type != "note" || pauses[1].Since.IsZero() {
			t.Errorf("pauses: %+v, %v", pauses, err)
		}
		appendEvent(t, d, event("b", "1"))
		list, err := d.Accounts(t.Context(), db.AccountFilter{Paused: true, Limit: 10})
		if err != nil || len(list) != 1 || list[0].ClientID != "a" || !list[0].Paused {
			t.Errorf("paused accounts: %+v, %v", list, err)
		}
		for _, a := range []db.Command{{Verb: db.Resume, ClientID: "a"}, {Verb: db.Resume, Type: "note"}, {Verb: db.Resume}} {
			wantAct(t, d, a, true, nil)
			wantAct(t, d, a, false, nil)
		}
		if got := strings.Join(heard, " "); got != "atrue notetrue true afalse notefalse false" {
			t.Errorf("heard %s", got)
		}
		wantRows(t, d, "SELECT count(*) FROM audit", "12")
	})
}

func TestRedrive(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		one, two, last := appendEvent(t, d, event("a", "1")), appendEvent(t, d, event("a", "2")), appendEvent(t, d, event("a", "3"))
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq}, false, db.ErrStillPending)
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: 1000}, false, db.ErrNotFound)
		settle(t, d, dead(one, "why"), done(two, nil))
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: two.Seq}, false, db.ErrNotDead)
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq, ClientID: "b"}, false, db.ErrNotFound)
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq, Run: 2}, false, db.ErrBadCommand)
		got := wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq, Run: 1}, true, nil)
		if got.Run != 2 || got.ClientID != "a" || got.HeadSeq != last.Seq {
			t.Errorf("redrive answers %+v", got)
		}
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq, Run: 1}, false, nil) // again
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq}, false, db.ErrStillPending)
		// The same receipt, while it is pending and afterwards.
		if r, err := d.Append(t.Context(), event("a", "1")); err != nil || !r.Duplicate || r.Seq != one.Seq || r.State != db.Pending {
			t.Errorf("a repeat: %+v, %v", r, err)
		}
		evs, _, err := d.PendingAfter(t.Context(), "a", 0, 10, 1<<20)
		if err != nil || len(evs) != 2 || evs[0].Seq != last.Seq || evs[1].Seq != one.Seq || evs[1].Run != 2 {
			t.Fatalf("pending: %+v, %v", evs, err)
		}
		if n, err := d.Settle([]db.Settlement{done(one, note("late"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
			t.Errorf("the first run is settled again: %d, %v", n, err)
		}
		settle(t, d, done(last, nil), done(evs[1], note("second run")))
		wantRows(t, d, "SELECT seq, run, status FROM results ORDER BY settled", fmt.Sprint(two.Seq, " 1 done"), fmt.Sprint(last.Seq, " 1 done"), fmt.Sprint(one.Seq, " 2 done"))
		runs, err := d.Runs(t.Context(), one.Seq, 0, 10)
		if err != nil || len(runs) != 1 || runs[0].Run != 1 || runs[0].Status != db.Dead || runs[0].Error != "why" {
			t.Errorf("earlier runs: %+v, %v", runs, err)
		}
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq}, false, db.ErrNotDead)
		wantAct(t, d, db.Command{Verb: db.Redrive, Seq: one.Seq, Run: 1}, false, nil)
	})
}

// replayAll settles what a replay makes pending, and returns the message ids in the
// order in which they ran, with what was pending beside it.
func replayAll(t testing.TB, d *DB, clientID string) (ran []string) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = d.ExpandReplay(clientID); err != nil {
			t.Fatal(err)
		}
		evs, _, err := d.PendingAfter(t.Context(), clientID, -1<<63, 1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range evs {
			if ev.Position > 0 && more {
				break
			}
			ev.Attempt = 1
			settle(t, d, done(ev, nil))
			ran = append(ran, fmt.Sprint(ev.MessageID, "/", ev.Run))
		}
	}
	return ran
}

func TestReplay(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var evs []db.Event
		for i := range 6 {
			evs = append(evs, appendEvent(t, d, event("a", fmt.Sprint(i))))
			appendEvent(t, d, event("b", fmt.Sprint(i)))
		}
		wantAct(t, d, db.Command{Verb: db.Replay, ClientID: "a"}, false, db.ErrNothingToReplay)
		wantAct(t, d, db.Command{Verb: db.Replay, ClientID: "nobody"}, false, db.ErrNotFound)
		settle(t, d, done(evs[0], nil), dead(evs[1], "why"), done(evs[2], nil), done(evs[3], nil))
		park(t, d, evs[4])
		before := rows(t, d, "SELECT count(*), (SELECT count(*) FROM results) FROM pending")
		got := wantAct(t, d, db.Command{Verb: db.Replay, ClientID: "a", Seq: evs[1].Seq}, true, nil)
		if got.Seq != evs[1].Seq || got.To != evs[3].Seq || got.Events != 3 || got.HeadSeq != evs[4].Seq {
			t.Errorf("replay answers %+v", got)
		}
		// It is ordered by the account's row alone.
		wantRows(t, d, "SELECT count(*), (SELECT count(*) FROM results) FROM pending", before...)
		wantRows(t, d, "SELECT parked, attempts, replay_next, replay_to FROM accounts WHERE client_id = 'a'", fmt.Sprint("0 0 ", evs[1].Seq, " ", evs[3].Seq))
		wantAct(t, d, db.Command{Verb: db.Replay, ClientID: "a"}, false, db.ErrReplaying)
		if a, err := d.Account(t.Context(), "a"); err != nil || a.ReplayNext != evs[1].Seq || a.ReplayTo != evs[3].Seq {
			t.Errorf("the account: %+v, %v", a, err)
		}
		// What ran when it was ordered ends, and isn't part of it.
		settle(t, d, done(evs[4], nil))
		if more, err := d.ExpandReplay("a"); more || err != nil {
			t.Fatal(more, err)
		}
		wantAct(t, d, db.Command{Verb: db.Replay, ClientID: "a"}, false, db.ErrReplaying) // some of it is still pending
		if ran := strings.Join(replayAll(t, d, "a"), " "); ran != "1/2 2/2 3/2 5/1" {
			t.Errorf("ran %s", ran)
		}
		wantAct(t, d, db.Command{Verb: db.Replay, ClientID: "a", Seq: evs[2].Seq, To: evs[2].Seq}, true, nil)
		if ran := strings.Join(replayAll(t, d, "a"), " "); ran != "2/3" {
			t.Errorf("ran %s", ran)
		}
		wantRows(t, d, "SELECT seq, run FROM runs ORDER BY seq, run", fmt.Sprint(evs[1].Seq, " 1"), fmt.Sprint(evs[2].Seq, " 1"), fmt.Sprint(evs[2].Seq, " 2"), fmt.Sprint(evs[3].Seq, " 1"))
		if more, err := d.ExpandReplay("a"); more || err != nil {
			t.Error(more, err)
		}
		// One in the range that was pending when the replay was ordered, and ends before its
		// turn in it would come.
		list, _, err := d.PendingAfter(t.Context(), "b", 0, 10, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i].Attempt = 1
		}
		settle(t, d, done(list[0], nil), dead(list[1], "why"), done(list[2], nil), done(list[3], nil), done(list[4], nil), done(list[5], nil))
		mustAct(t, d, db.Command{Verb: db.Redrive, Seq: list[1].Seq})
		mustAct(t, d, db.Command{Verb: db.Replay, ClientID: "b", To: list[2].Seq})
		again, _, err := d.PendingAfter(t.Context(), "b", 0, 10, 1<<20)
		if err != nil || len(again) != 1 {
			t.Fatal(again, err)
		}
		settle(t, d, done(again[0], nil))
		if ran := strings.Join(replayAll(t, d, "b"), " "); ran != "0/2 2/2" {
			t.Errorf("ran %s", ran)
		}
	})
}

// TestLongReplay: a replay becomes pending in parts, and goes on after a restart in
// the middle of one.
func TestLongReplay(t *testing.T) {
	t.Parallel()
	path := tempFile(t)
	d := open(t, options(t, path))
	const n = expandEvents + 10
	for i := range n {
		settle(t, d, done(appendEvent(t, d, event("a", fmt.Sprint(i))), nil))
	}
	mustAct(t, d, db.Command{Verb: db.Replay, ClientID: "a"})
	if more, err := d.ExpandReplay("a"); !more || err != nil {
		t.Fatal(more, err)
	}
	wantRows(t, d, "SELECT count(*), max(turn) < 0 FROM pending", fmt.Sprint(expandEvents, " 1"))
	d.Close()
	wantSound(t, path)
	d = open(t, options(t, path))
	accounts, _, _ := d.Backlog()
	if len(accounts) != 1 || !accounts[0].Replaying || accounts[0].Events != expandEvents {
		t.Errorf("found %+v", accounts)
	}
	evs, _, err := d.PendingAfter(t.Context(), "a", -1<<63, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range evs {
		if ev.MessageID != fmt.Sprint(i) {
			t.Fatalf("event %s is replayed at place %d", ev.MessageID, i)
		}
		settle(t, d, done(ev, nil))
	}
	if ran := replayAll(t, d, "a"); len(ran) != 10 || ran[9] != fmt.Sprint(n-1, "/2") {
		t.Errorf("the rest: %v", ran)
	}
	d.Close()
	wantSound(t, path)
}

func TestKeys(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		one := appendEvent(t, d, event("a", "1"))
		appendEvent(t, d, event("a", "2"))
		skip := db.Command{Verb: db.Skip, ClientID: "a", Seq: one.Seq, Key: "k1", Who: "op"}
		first := wantAct(t, d, skip, true, nil)
		again := wantAct(t, d, skip, true, nil)
		if first.Again = true; first != again {
			t.Errorf("again %+v, first %+v", again, first)
		}
		wantRows(t, d, "SELECT count(*) FROM audit", "1")
		for _, a := range []db.Command{
			{Verb: db.Retry, ClientID: "a", Seq: one.Seq, Key: "k1"}, {Verb: db.Skip, ClientID: "a", Seq: one.Seq + 1, Key: "k1"},
			{Verb: db.Skip, ClientID: "b", Seq: one.Seq, Key: "k1"}, {Verb: db.Pause, ClientID: "a", Key: "k1"},
		} {
			wantAct(t, d, a, false, db.ErrKeyReused)
		}
		redrive := db.Command{Verb: db.Redrive, Seq: one.Seq, Key: "k2"}
		if got := wantAct(t, d, redrive, true, nil); got.Run != 2 {
			t.Errorf("answered %+v", got)
		}
		if got := wantAct(t, d, redrive, true, nil); got.Run != 2 || !got.Again || got.ClientID != "a" {
			t.Errorf("answered %+v", got)
		}
		replay := db.Command{Verb: db.Replay, ClientID: "a", Key: "k3"}
		wantAct(t, d, replay, false, db.ErrNothingToReplay) // the key stays free
		if _, err := d.ExecuteAll(t.Context(), db.BulkCommand{Verb: db.Retry, Key: "k1"}); !errors.Is(err, db.ErrKeyReused) {
			t.Errorf("a bulk act with the key of another act: %v", err)
		}
	})
}

func TestBadActs(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	for _, a := range []db.Command{
		{}, {Verb: "explode"}, {Verb: db.Pause, ClientID: "a", Type: "t"}, {Verb: db.Pause, Seq: 1}, {Verb: db.Resume, Run: 1}, {Verb: db.Resume, To: 1},
		{Verb: db.Retry, ClientID: "a"}, {Verb: db.Retry, Seq: 1}, {Verb: db.Skip, ClientID: "a", Seq: 1, To: 2}, {Verb: db.Skip, ClientID: "a", Seq: 1, Type: "t"},
		{Verb: db.Redrive}, {Verb: db.Redrive, Seq: 1, Run: -1}, {Verb: db.Redrive, Seq: 1, Type: "t"}, {Verb: db.Replay}, {Verb: db.Replay, ClientID: "a", Seq: 5, To: 4},
		{Verb: db.Replay, ClientID: "a", Seq: -1}, {Verb: db.Replay, ClientID: "a", Run: 1}, {Verb: db.Pause, Who: strings.Repeat("x", 257)},
		{Verb: db.Pause, Key: strings.Repeat("x", 257)}, {Verb: db.Pause, Reason: strings.Repeat("x", 4097)}, {Verb: db.Pause, Reason: "\xff"},
	} {
		wantAct(t, d, a, false, db.ErrBadCommand)
	}
	for _, b := range []db.BulkCommand{{}, {Verb: db.Pause}, {Verb: db.Replay}, {Verb: db.Retry, Since: time.Now()}, {Verb: db.Redrive, Key: strings.Repeat("x", 257)}} {
		if _, err := d.ExecuteAll(t.Context(), b); !errors.Is(err, db.ErrBadCommand) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	wantRows(t, d, "SELECT count(*) FROM audit", "0")
}

// TestActsUndone: an act in a group that runs again leaves nothing double, neither in
// the file nor in what is handed over.
func TestActsUndone(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var changes []db.Change
		d.OnChange(func(list []db.Change) { changes = append(changes, list...) })
		one, two := appendEvent(t, d, event("a", "1")), appendEvent(t, d, event("b", "1"))
		act := newCommand(db.Command{Verb: db.Skip, ClientID: "a", Seq: one.Seq})
		bad := settling(done(two, func(db.Tx) (any, error) { return nil, errors.New("the effect fails") }))
		together(t, d, act, bad)
		if act.Err != nil || !act.result.Changed || bad.Done != 0 {
			t.Errorf("the act: %+v, %v; the settle %d", act.result, act.Err, bad.Done)
		}
		wantRows(t, d, "SELECT count(*), (SELECT count(*) FROM results) FROM audit", "1 1")
		if len(changes) != 1 || changes[0] != (db.Change{ClientID: "a", Position: two.Seq + 1, Reread: true}) {
			t.Errorf("handed over %+v", changes)
		}
	})
}

// TestRestingAccounts: the events of paused and parked accounts count against their
// own bound alone, also after a restart and however the reasons overlap.
func TestRestingAccounts(t *testing.T) {
	t.Parallel()
	path := tempFile(t)
	o := options(t, path)
	o.MaxPending, o.MaxAccountPending = 3, 3
	d := open(t, o)
	one := appendEvent(t, d, event("a", "1"))
	appendEvent(t, d, event("a", "2"))
	appendEvent(t, d, event("b", "1"))
	full := func(client string, is error) {
		t.Helper()
		if _, err := d.Append(t.Context(), event(client, fmt.Sprint(time.Now().UnixNano()))); !errors.Is(err, is) {
			t.Errorf("%s: %v, want %v", client, err, is)
		}
	}
	full("c", db.ErrBacklogFull)
	mustAct(t, d, db.Command{Verb: db.Pause, ClientID: "a"})
	full("a", nil) // the third of its own
	full("a", db.ErrAccountFull)
	full("c", nil)
	full("c", nil)
	full("c", db.ErrBacklogFull)
	park(t, d, one)
	mustAct(t, d, db.Command{Verb: db.Resume, ClientID: "a"})
	full("a", db.ErrBacklogFull) // parked still: the bound of all is b's and c's
	mustAct(t, d, db.Command{Verb: db.Pause, ClientID: "a"})
	mustAct(t, d, db.Command{Verb: db.Retry, ClientID: "a", Seq: one.Seq})
	d.Close()
	d = open(t, o)
	if got := d.w.total; got != 3 {
		t.Errorf("%d events are runnable after the restart, want 3", got)
	}
	mustAct(t, d, db.Command{Verb: db.Resume, ClientID: "a"})
	if got := d.w.total; got != 6 {
		t.Errorf("%d events are runnable, want 6", got)
	}
}

func TestBulk(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		const n = bulkChunk + 20
		for i := range n {
			ev := event(fmt.Sprintf("c%04d", i), "1")
			if i%10 == 0 {
				ev.Type = "rare"
			}
			ev = appendEvent(t, d, ev)
			if i%2 == 0 {
				park(t, d, ev)
			} else {
				settle(t, d, dead(ev, "why"))
			}
		}
		all := func(b db.BulkCommand, count int64) db.BulkResult {
			t.Helper()
			got, err := d.ExecuteAll(t.Context(), b)
			if err != nil || got.Count != count {
				t.Errorf("%+v: %+v, %v; want %d", b, got, err, count)
			}
			return got
		}
		all(db.BulkCommand{Verb: db.Retry, DryRun: true}, n/2)
		all(db.BulkCommand{Verb: db.Retry, Type: "rare", DryRun: true}, n/10)
		all(db.BulkCommand{Verb: db.Redrive, DryRun: true}, n/2)
		all(db.BulkCommand{Verb: db.Redrive, ClientID: "c0001", DryRun: true}, 1)
		all(db.BulkCommand{Verb: db.Redrive, Since: time.Now().Add(time.Hour), DryRun: true}, 0)
		wantRows(t, d, "SELECT count(*) FROM audit", "0")
		all(db.BulkCommand{Verb: db.Skip, Type: "rare", Who: "op", Reason: "old"}, n/10)
		all(db.BulkCommand{Verb: db.Retry}, n/2-n/10)
		wantRows(t, d, "SELECT count(*) FROM accounts WHERE parked", "0")
		list, err := d.Dead(t.Context(), db.DeadFilter{Type: "rare", Limit: 1000})
		if err != nil || len(list) != n/10 || list[0].Result.Error != "skipped by op: old" {
			t.Errorf("%d are dead of the rare type, %v", len(list), err)
		}
		redrive := db.BulkCommand{Verb: db.Redrive, Key: "k", Since: time.UnixMicro(1)}
		first := all(redrive, n/2+n/10)
		if again := all(redrive, n/2+n/10); !again.Again || again.ID != first.ID {
			t.Errorf("again: %+v, first %+v", again, first)
		}
		wantRows(t, d, "SELECT count(*), max(run), (SELECT count(*) FROM results) FROM pending", fmt.Sprint(n, " 2 0"))
		wantRows(t, d, "SELECT count(*), count(DISTINCT seq) FROM audit WHERE bulk > 0 AND verb = 'redrive'", fmt.Sprint(n/2+n/10, " ", n/2+n/10))
		other := redrive
		other.Since = time.UnixMicro(2)
		if _, err := d.ExecuteAll(t.Context(), other); !errors.Is(err, db.ErrKeyReused) {
			t.Errorf("another bulk act with the key: %v", err)
		}
	})
}

// TestBulkGoesOn: one that was cut short goes on where it was, and does nothing twice,
// although what it did first can be done again.
func TestBulkGoesOn(t *testing.T) {
	t.Parallel()
	path := tempFile(t)
	d := open(t, options(t, path))
	const n = 2*bulkChunk + 10
	for i := range n {
		park(t, d, appendEvent(t, d, event(fmt.Sprintf("c%04d", i), "1")))
	}
	b := db.BulkCommand{Verb: db.Retry, Key: "k"}
	ctx, cancel := context.WithCancel(t.Context())
	chunks := 0
	d.OnChange(func(list []db.Change) {
		if chunks++; len(list) == bulkChunk {
			cancel() // after the first chunk
		}
	})
	if _, err := d.ExecuteAll(ctx, b); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut short: %v", err)
	}
	d.Close()
	d = open(t, options(t, path))
	evs, _, err := d.PendingAfter(t.Context(), "c0000", 0, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	park(t, d, evs[0]) // the first one has failed again
	got, err := d.ExecuteAll(t.Context(), b)
	if err != nil || got.Count != n {
		t.Errorf("went on: %+v, %v; want %d", got, err, n)
	}
	wantRows(t, d, "SELECT count(*), count(DISTINCT client_id) FROM audit WHERE bulk > 0", fmt.Sprint(n, " ", n))
	wantRows(t, d, "SELECT client_id FROM accounts WHERE parked", "c0000")
	d.Close()
	wantSound(t, path)
}

// TestListsUseTheirIndex: what operators list is not looked for among everything.
func TestListsUseTheirIndex(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	for query, index := range map[string]string{
		"SELECT count(*) FROM " + parkedQuery: "accounts_parked", "SELECT count(*) FROM " + deadQuery: "results_dead",
		"SELECT a.client_id FROM accounts a INDEXED BY accounts_paused WHERE a.client_id > ?1 AND a.paused = 1 ORDER BY a.client_id": "accounts_paused",
		"SELECT client_id FROM accounts WHERE attempts > 0 OR parked = 1 OR paused = 1 OR replay_next IS NOT NULL":                   "accounts_held",
	} {
		plan := strings.Join(rows(t, d, "EXPLAIN QUERY PLAN "+query, "", "", "", 0), "\n")
		if !strings.Contains(plan, index) || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\n%s", query, plan)
		}
	}
}
