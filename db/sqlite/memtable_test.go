package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/q"
)

// byHand makes a database that files nothing by itself.
func byHand(t testing.TB, path string) *DB {
	o := options(t, path)
	o.FlushBatch = 1 << 30
	return open(t, o)
}

// flush writes rows as a part of a batch, or, where there are none, the end of one.
func flush(t testing.TB, d *DB, upTo int64, rows ...appended) {
	t.Helper()
	op := flushing(rows)
	if len(rows) == 0 {
		op = d.flusher.endBatch(upTo)
	}
	if err := d.flusher.submit(op); err != nil {
		t.Fatal(err)
	}
}

// killed returns what a kill would leave of d's file now.
func killed(t testing.TB, d *DB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "inturn.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(d.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// lane reads what is pending of an account, a few events at a time.
func lane(t testing.TB, d *DB, clientID string) string {
	t.Helper()
	var list []string
	for after, more := int64(-1<<63), true; more; {
		var events []db.Event
		var err error
		events, more, err = d.PendingAfter(context.Background(), clientID, after, 2, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if more && len(events) == 0 {
			t.Fatalf("reading %s after %d does not go on", clientID, after)
		}
		for _, ev := range events {
			list = append(list, fmt.Sprintf("%d/%d/%d", ev.Position, ev.Seq, ev.Run))
			after = ev.Position
		}
	}
	return strings.Join(list, " ")
}

// What is pending is the same for everyone who asks, however far a batch has come,
// also for who opens the file after a kill there; and each run is settled once.
func TestFlushCutShort(t *testing.T) {
	const batch = 10
	want := map[string]struct {
		head   int64
		events int
		lane   string // turn/seq/run
	}{
		"a": {10, 2, "10/10/1 11/4/2"}, "b": {2, 3, "2/2/1 5/5/1 8/8/1"}, "c": {3, 4, "3/3/1 6/6/1 9/9/1 12/12/1"},
	}
	check := func(t *testing.T, d *DB) {
		t.Helper()
		for client, want := range want {
			if got := lane(t, d, client); got != want.lane {
				t.Errorf("the lane of %s is %s, want %s", client, got, want.lane)
			}
			view := rows(t, d, "SELECT turn || '/' || seq || '/' || run FROM pending WHERE client_id = ? ORDER BY turn", client)
			if got := strings.Join(view, " "); got != want.lane {
				t.Errorf("the view says %s of %s, want %s", got, client, want.lane)
			}
			if a, err := d.Account(t.Context(), client); err != nil || a.Pending != want.events || a.HeadSeq != want.head {
				t.Errorf("%s is %+v, %v", client, a, err)
			}
		}
		accounts, err := d.Accounts(t.Context(), db.AccountFilter{Limit: 10})
		if err != nil || len(accounts) != len(want) {
			t.Errorf("%+v, %v", accounts, err)
		}
		for _, a := range accounts {
			if want := want[a.ClientID]; a.Pending != want.events || a.HeadSeq != want.head {
				t.Errorf("listed: %+v", a)
			}
		}
		if n := d.Stats().Pending; n != 9 {
			t.Errorf("%d events are pending", n)
		}
		wantSound(t, d.path)
	}
	for steps := range batch + 2 {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			t.Parallel()
			d := byHand(t, tempFile(t))
			var evs []db.Event // of a 1, 4, 7 and 10, of b 2, 5 and 8, of c 3, 6 and 9
			for i := range batch {
				evs = append(evs, appendEvent(t, d, event(string("abc"[i%3]), fmt.Sprint(i))))
			}
			settle(t, d, done(evs[0], nil), dead(evs[3], "no"))
			mustAct(t, d, db.Command{Verb: db.Redrive, Seq: 4})
			late := appendEvent(t, d, event("c", "late"))
			parts := d.w.memtable.snapshot.oldest(batch)
			slices.SortFunc(parts, func(a, b appended) int {
				return cmp.Or(cmp.Compare(a.clientID, b.clientID), cmp.Compare(a.seq, b.seq))
			})
			for i := range min(steps, batch) {
				flush(t, d, 0, parts[i])
			}
			if steps > batch {
				flush(t, d, batch)
			}
			settle(t, d, done(evs[6], nil)) // in a lane or not

			check(t, d)
			d = byHand(t, killed(t, d))
			check(t, d)
			backlog, _, _ := d.Backlog()
			for _, b := range backlog {
				if want := want[b.ClientID]; b.Events != want.events || b.HeadPosition != want.head {
					t.Errorf("found: %+v", b)
				}
			}
			if len(backlog) != len(want) {
				t.Errorf("%d accounts were found", len(backlog))
			}

			again := evs[3]
			again.Position, again.Run = 11, 2
			for _, ev := range []db.Event{evs[1], evs[2], evs[4], evs[5], evs[7], evs[8], late, evs[9], again} {
				settle(t, d, done(ev, nil))
			}
			for _, ev := range append(evs, again) {
				if n, err := d.Settle([]db.Settlement{done(ev, nil)}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
					t.Errorf("run %d of seq %d, again: %d, %v", ev.Run, ev.Seq, n, err)
				}
			}
			d.Close()
			wantSound(t, d.path)
			d = byHand(t, d.path)
			wantRows(t, d, `SELECT (SELECT count(*) FROM pending), (SELECT count(*) FROM results), (SELECT count(*) FROM runs),
				(SELECT count(*) FROM history), (SELECT flushed FROM owner)`, "0 11 1 11 12")
		})
	}
}

// A part of a batch that is undone with its group is written again.
func TestFlushIsUndone(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		ev := appendEvent(t, d, event("c", "m"))
		broken := errors.New("too bad")
		for _, fail := range []error{broken, nil} {
			op := inside(func(w *writer) error {
				if err := w.flush(appended{1, "c"}); err != nil {
					return err
				}
				wantStage(t, w, 1, stageInLane)
				return fail
			})
			submit(t, d, op)
			if <-op.Ended(); !errors.Is(op.Err, fail) {
				t.Fatalf("%v, want %v", op.Err, fail)
			}
			want := stageInLane
			if fail != nil {
				want = stageWaiting
			}
			wantStage(t, d.w, 1, want)
			wantRows(t, d, pendingRows, "c 1 1 1")
		}
		settle(t, d, done(ev, nil))
		wantRows(t, d, "SELECT count(*) FROM pending", "0")
		wantStage(t, d.w, 1, stageSettled)
	})
}

// What a transaction appended and undid is forgotten; what it appended it knows.
func TestAppendIsUndone(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		broken := errors.New("too bad")
		for _, fail := range []error{broken, nil} {
			op := inside(func(w *writer) error {
				for i := range 3 {
					if _, err := w.add(event("c", fmt.Sprint(i))); err != nil {
						return err
					}
				}
				if first, err := w.end(runID{"c", 1, 1, 1}); err != nil || !first {
					t.Errorf("the end of the first: %t, %v", first, err)
				}
				if head, err := w.head("c"); err != nil || head.Seq != 2 {
					t.Errorf("the head is %+v, %v", head, err)
				}
				return errors.Join(fail, w.hot.insertResult(q.InsertResultParams{Seq: 1, Run: 1, Turn: 1, Status: "done"}))
			})
			submit(t, d, op)
			if <-op.Ended(); !errors.Is(op.Err, fail) {
				t.Fatalf("%v, want %v", op.Err, fail)
			}
			want := 3
			if fail != nil {
				want = 0
			}
			if n := len(d.w.memtable.events); n != want {
				t.Errorf("%d events are in the tail, want %d", n, want)
			}
		}
	})
}

// Only the run that is pending can be ended, flushed or not.
func TestEndOfAnotherRun(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		ev := appendEvent(t, d, event("c", "m"))
		for _, flushed := range []bool{false, true} {
			if flushed {
				flush(t, d, 0, appended{1, "c"})
				flush(t, d, 1)
			}
			for _, change := range []func(*db.Event){
				func(ev *db.Event) { ev.ClientID = "other" }, func(ev *db.Event) { ev.Position = 2 }, func(ev *db.Event) { ev.Seq, ev.Position = 2, 2 }, func(ev *db.Event) { ev.Run = 2 },
			} {
				other := ev
				change(&other)
				if n, err := d.Settle([]db.Settlement{done(other, nil)}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
					t.Errorf("%+v was settled: %d, %v", other, n, err)
				}
				if err := d.Hold(db.Hold{Event: other, Park: true, Error: "e"}); !errors.Is(err, db.ErrSuperseded) {
					t.Errorf("%+v was held: %v", other, err)
				}
			}
		}
		settle(t, d, done(ev, nil))
	})
}

// Who hears of an event finds it pending, and who reads a list that has grown old
// reads on.
func TestLaneIsThereBeforeItIsTold(t *testing.T) {
	d := byHand(t, tempFile(t))
	d.OnAppend(func(evs []db.Event) {
		got, _, err := d.PendingAfter(context.Background(), "c", evs[0].Position-1, 10, 1<<20)
		if err != nil || len(got) != len(evs) || got[0].Seq != evs[0].Seq {
			t.Errorf("of %v only %v is pending, %v", evs, got, err)
		}
	})
	first := appendEvent(t, d, event("c", "1"))
	appendEvent(t, d, event("c", "2"))
	settle(t, d, dead(first, "no"))
	d.w.memtable.snapshot.mu.Lock()
	d.w.memtable.snapshot.waiting["c"] = []int64{1, 2} // as it was before
	d.w.memtable.snapshot.mu.Unlock()
	if evs, more, err := d.PendingAfter(t.Context(), "c", 0, 1, 1<<20); len(evs) != 0 || !more || err != nil {
		t.Errorf("%v, more %t, %v", evs, more, err)
	}
	appendEvent(t, d, event("c", "3"))
	mustAct(t, d, db.Command{Verb: db.Redrive, Seq: 1})
	if got := lane(t, d, "c"); got != "2/2/1 3/3/1 4/1/2" {
		t.Errorf("the lane is %s", got)
	}
	d.w.memtable.snapshot.mu.Lock()
	d.w.memtable.snapshot.waiting["c"], d.w.memtable.snapshot.next = []int64{2}, 3 // as it was before
	d.w.memtable.snapshot.mu.Unlock()
	if got := lane(t, d, "c"); got != "2/2/1" { // the third is not overtaken
		t.Errorf("the lane is %s", got)
	}
}

func wantStage(t testing.TB, w *writer, seq int64, want stage) {
	t.Helper()
	if got := w.memtable.stage(seq); got != want {
		t.Errorf("seq %d is at stage %d, want %d", seq, got, want)
	}
}

// Of a file whose server was killed, with nothing flushed, check finds what was changed
// by hand.
func TestVerifyPlantedUnfiled(t *testing.T) {
	d := byHand(t, tempFile(t))
	var evs []db.Event
	for i := range 6 {
		evs = append(evs, appendEvent(t, d, event(string("ab"[i%2]), fmt.Sprint(i))))
	}
	settle(t, d, done(evs[0], nil), done(evs[2], nil)) // left are 5 of a, and 2, 4, 6 of b
	wantSound(t, killed(t, d))
	for _, test := range []struct{ kind, sql, says string }{
		{"lost", "DELETE FROM pending WHERE seq = 4", "seq 4 of b is neither"},
		{"lost", "DELETE FROM results WHERE seq = 3", "5 events are pending, and 4 were"},
		{"lost", "DELETE FROM outbox WHERE seq = 5", "3 events are pending, and 4 were"},
		{"lost", "INSERT INTO results VALUES (6, 1, 6, 3, 'done', 1, 1, 1, NULL, NULL); UPDATE owner SET next_settled = 4", "3 events are pending, and 4 were"},
		{"orphan-pending", "INSERT INTO pending VALUES ('a', 30, 30, 1)", "turn 30 of a is of seq 30"},
		{"orphan-pending", "UPDATE pending SET client_id = 'b' WHERE seq = 5", "which belongs to a"},
		{"pending-twice", "INSERT INTO pending VALUES ('a', 900, 5, 1)", "seq 5 is pending 2 times"},
		{"settled-pending", "INSERT INTO pending VALUES ('a', 1, 1, 1)", "run 1 of seq 1 of a is pending"},
	} {
		path := killed(t, d)
		conn := raw(t, path)
		run(t, conn, test.sql)
		conn.Close()
		violations, err := file.Verify(t.Context(), path, nil)
		found := slices.ContainsFunc(violations, func(v db.Violation) bool { return v.Kind == test.kind && strings.Contains(v.Detail, test.says) })
		if err != nil || !found {
			t.Errorf("%s\nfound %v, %v\nwant %s: %s", test.sql, violations, err, test.kind, test.says)
		}
	}
}

// Who changes pending by hand takes the file from the server, whose memory would be
// wrong; the next one finds what is there.
func TestPendingByHand(t *testing.T) {
	for text, want := range map[string]string{
		"DELETE FROM pending WHERE seq = 1":              "2/2/1 3/3/1",
		"UPDATE pending SET turn = -5 WHERE seq = 3":     "-5/3/1 1/1/1 2/2/1",
		"INSERT INTO pending VALUES ('c', -5, 3, 2)":     "-5/3/2 1/1/1 2/2/1 3/3/1",
		"DELETE FROM pending WHERE turn BETWEEN 1 AND 2": "3/3/1",
	} {
		path := tempFile(t)
		d := byHand(t, path)
		for i := range 3 {
			appendEvent(t, d, event("c", fmt.Sprint(i)))
		}
		run(t, raw(t, path), text)
		if _, err := d.Append(t.Context(), event("c", "more")); !errors.Is(err, db.ErrFenced) {
			t.Errorf("%s: the server was told %v", text, err)
		}
		d.Close()
		o := options(t, path)
		var said strings.Builder
		o.Log = slog.New(slog.NewTextHandler(&said, nil))
		d = open(t, o)
		if got := lane(t, d, "c"); got != want {
			t.Errorf("%s: the lane is %s, want %s", text, got, want)
		}
		if changed := !strings.Contains(text, "UPDATE"); changed != strings.Contains(said.String(), "changed by somebody else") {
			t.Errorf("%s: the log says %s", text, said.String())
		}
	}
}

// A lane's payloads are read one by one: no plan sorts the rows that have them.
func TestLanePlans(t *testing.T) {
	d := byHand(t, ":memory:")
	for _, query := range []string{laneQuery, unflushedQuery} {
		var inner, outer int // sorts; a line is id, parent, a number that is not used, text
		for _, line := range rows(t, d, "EXPLAIN QUERY PLAN "+query, []any{"c", 0, 9, 10, "[1]"}[:strings.Count(query, "?5")+4]...) {
			if f := strings.Fields(line); strings.Contains(line, "TEMP B-TREE") {
				if inner++; f[1] == "0" {
					outer++
				}
			}
		}
		if outer > 0 || inner > 1 {
			t.Errorf("%d sorts, %d of them of whole rows: %s", inner, outer, query)
		}
	}
}

// Places in the memtable follow the seqs, but for gaps that later runs and flushing leave.
func TestMemtableFind(t *testing.T) {
	tl := newMemtable()
	seqs := []int64{5, 6, 7, 11, 12, 20, 1000}
	for _, seq := range seqs {
		tl.events = append(tl.events, unflushed{appended{seq, "c"}, stageWaiting})
	}
	for _, upTo := range []int64{0, 5, 9, 12, 1000} {
		tl.flushedTo(upTo)
		for seq := range int64(1002) {
			want := stageFlushed
			if seq > upTo && slices.Contains(seqs, seq) {
				want = stageWaiting
			}
			if got := tl.stage(seq); got != want {
				t.Errorf("seq %d, flushed up to %d: stage %d, want %d", seq, upTo, got, want)
			}
		}
	}
}

// Who reads a lane while events come, run again and are flushed sees no gap, nothing out
// of turn, and everything that was there when it began.
func TestLaneWhileItIsFlushed(t *testing.T) {
	for name, path := range map[string]string{"memory": ":memory:", "file": tempFile(t)} {
		t.Run(name, func(t *testing.T) {
			o := options(t, path)
			o.FlushBatch = 5
			d := open(t, o)
			const events = 160
			var (
				mu    sync.Mutex
				turns []int64 // of what is pending, in the order of commits
			)
			stood := func() []int64 {
				mu.Lock()
				defer mu.Unlock()
				return turns
			}
			d.OnAppend(func(evs []db.Event) {
				mu.Lock()
				defer mu.Unlock()
				for _, ev := range evs {
					if ev.ClientID == "c" {
						turns = append(turns, ev.Position)
					}
				}
			})
			d.OnChange(func(changes []db.Change) { // of a redrive: its turn was the last
				mu.Lock()
				defer mu.Unlock()
				for _, c := range changes {
					turns = append(turns, c.Position-1)
				}
			})
			first := appendEvent(t, d, event("c", "first"))
			mu.Lock()
			turns = nil
			mu.Unlock()
			settle(t, d, dead(first, "no"))

			var all sync.WaitGroup
			over := make(chan struct{})
			all.Go(func() {
				defer close(over)
				run := first
				for i := range events {
					appendEvent(t, d, event("c", fmt.Sprint(i)))
					appendEvent(t, d, event("other", fmt.Sprint(i)))
					if i == events/2 {
						mustAct(t, d, db.Command{Verb: db.Redrive, Seq: run.Seq})
					}
				}
			})
			for range 3 {
				all.Go(func() {
					for ended := false; !ended; {
						select {
						case <-over:
							ended = true
						default:
						}
						before := stood()
						var got []int64
						for after, more := int64(0), true; more; {
							var evs []db.Event
							var err error
							if evs, more, err = d.PendingAfter(context.Background(), "c", after, 1+len(before)/2, 1<<20); err != nil {
								t.Error(err)
								return
							}
							for _, ev := range evs {
								got, after = append(got, ev.Position), ev.Position
							}
						}
						now := stood()
						for late := time.Now().Add(patience); len(now) < len(got) && time.Now().Before(late); now = stood() {
							runtime.Gosched() // readers see a commit a moment before it is told
						}
						if len(got) < len(before) || len(got) > len(now) || !slices.Equal(got, now[:len(got)]) {
							t.Errorf("read %v\nwhere there were %v before\nand %v after", got, before, now)
							return
						}
					}
				})
			}
			all.Wait()
			waitFlushed(t, d)
		})
	}
}
