package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
)

// What is older than that and finished goes, with everything that hangs from it; what
// is pending, held or to be replayed stays.
func TestRetention(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var all []db.Event
		for n := range 12 {
			all = append(all, appendEvent(t, d, event(fmt.Sprint("c", n%3), fmt.Sprint(n)))) // seq n+1
		}
		settle(t, d, done(all[0], note("a")), done(all[3], note("b")), done(all[6], nil)) // c0: 1, 4, 7
		settle(t, d, db.Settlement{Event: all[1], Status: db.Dead, Error: "e", StartedAt: time.UnixMicro(1)}, done(all[4], nil))
		if _, err := d.Execute(t.Context(), db.Command{Verb: db.Redrive, Seq: 2, Who: "o"}); err != nil { // c1: 2 is pending again
			t.Fatal(err)
		}
		settle(t, d, done(all[2], nil), done(all[5], nil)) // c2: 3, 6
		if _, err := d.Execute(t.Context(), db.Command{Verb: db.Replay, ClientID: "c2", Seq: 6, Who: "o"}); err != nil {
			t.Fatal(err)
		}
		if err := d.Hold(db.Hold{Event: all[9], Attempts: 1, Park: true, Error: "e"}); err != nil { // c0: parked at 10
			t.Fatal(err)
		}
		if n, err := d.retention().pass(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
			t.Errorf("of what is too young: %d, %v", n, err)
		}
		if n, err := d.retention().pass(t.Context(), time.Now().Add(time.Hour)); n != 5 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		wantRows(t, d, "SELECT seq FROM results", "6")
		wantRows(t, d, "SELECT group_concat(seq, ' ') FROM (SELECT seq FROM outbox ORDER BY seq)", "2 6 8 9 10 11 12")
		wantRows(t, d, "SELECT count(*) FROM runs", "1")
		wantRows(t, d, "SELECT count(*) FROM notes", "2") // a function's own rows are its own
		if n, err := d.retention().pass(t.Context(), time.Now().Add(time.Hour)); n != 0 || err != nil {
			t.Errorf("again: %d, %v", n, err)
		}
		// The replay finds what was promised to it.
		if more, err := d.ExpandReplay("c2"); more || err != nil {
			t.Error(more, err)
		}
		wantRows(t, d, "SELECT seq FROM pending WHERE client_id = 'c2' ORDER BY turn LIMIT 1", "6")
		// A repeat is a new event, and its seq a new one.
		if again := appendEvent(t, d, event("c0", "0")); again.Seq <= 12 {
			t.Errorf("sent again it has seq %d", again.Seq)
		}
	})
}

// Retain deletes what has become old, and goes on until it is told to end.
func TestRetainGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(t.Context(), options(t, ":memory:"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			d.Retain(ctx, time.Hour)
			close(ended)
		}()
		for n := range 3 * retainChunk {
			settle(t, d, done(appendEvent(t, d, event("c", fmt.Sprint(n))), nil))
			if n%retainChunk == retainChunk-1 {
				time.Sleep(30 * time.Minute)
			}
		}
		synctest.Wait()
		wantRows(t, d, "SELECT count(*) FROM results", fmt.Sprint(2*retainChunk)) // of 1:30, 1:00 and 0:30
		time.Sleep(time.Hour)
		synctest.Wait()
		wantRows(t, d, "SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM outbox), next_seq FROM owner", fmt.Sprintf("0 0 %d", 3*retainChunk+1))
		end()
		<-ended
		go d.Retain(context.Background(), time.Hour) // ends with the database
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Beside whatever else happens, with restarts in between: nothing is deleted that was
// not finished, and what check asks for holds.
func TestRetentionBesideLoad(t *testing.T) {
	path := tempFile(t)
	rng := rand.New(rand.NewPCG(1, 2))
	finished, deleted := map[int64]bool{}, 0
	next := 0
	for range 6 {
		d := open(t, options(t, path))
		ctx, stop := context.WithCancel(t.Context())
		gone := make(chan int)
		go func() {
			n := 0
			for err := error(nil); err == nil || errors.Is(err, db.ErrOverloaded); {
				var some int
				some, err = d.retention().pass(ctx, time.Now().Add(time.Hour))
				if n += some; err != nil && !errors.Is(err, db.ErrClosed) && !errors.Is(err, context.Canceled) && !errors.Is(err, db.ErrOverloaded) {
					t.Error(err)
				}
			}
			gone <- n
		}()
		for range 60 {
			client := fmt.Sprint("c", rng.IntN(5))
			if rng.IntN(3) > 0 {
				next++
				appendEvent(t, d, event(client, fmt.Sprint(next)))
				continue
			}
			var items []db.Settlement
			list := pendingOf(t, d, client)
			for _, ev := range list[:min(len(list), rng.IntN(6))] {
				ev.Attempt = 1
				items = append(items, done(ev, note(fmt.Sprint(ev.Seq))))
				finished[ev.Seq] = true
			}
			settle(t, d, items...)
		}
		if rng.IntN(2) == 0 {
			stop()
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		stop()
		deleted += <-gone
		wantSound(t, path)
	}
	d := open(t, options(t, path))
	left := map[string]bool{}
	for _, seq := range rows(t, d, "SELECT seq FROM outbox") {
		left[seq] = true
	}
	for seq := int64(1); seq <= int64(next); seq++ {
		if !finished[seq] && !left[fmt.Sprint(seq)] {
			t.Errorf("seq %d was not finished, and is gone", seq)
		}
	}
	wantRows(t, d, "SELECT count(*) FROM notes", fmt.Sprint(len(finished)))
	if deleted == 0 || next-deleted != len(left) {
		t.Errorf("of %d events %d were deleted, %d are left", next, deleted, len(left))
	}
}

// Where nothing is old, next to nothing is read, however much is there.
func TestRetentionReadsLittle(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	plans := rows(t, d, "EXPLAIN QUERY PLAN SELECT seq FROM results WHERE seq > 1 AND seq < 2 AND finished_at < 3 ORDER BY seq LIMIT 5")
	plans = append(plans, rows(t, d, "EXPLAIN QUERY PLAN "+retainable, 1, 1)...)
	if i := slices.IndexFunc(plans, func(p string) bool { return !strings.Contains(p, "SEARCH") }); i >= 0 {
		t.Errorf("a table is walked: %q", plans[i])
	}
	for n := range 50 {
		settle(t, d, done(appendEvent(t, d, event("c", fmt.Sprint(n))), nil))
	}
	end, err := d.retention().acceptedBefore(t.Context(), time.Now().Add(-time.Hour))
	if err != nil || end != 0 && end != 1 {
		t.Errorf("the first young event is %d, %v", end, err)
	}
	if end, err = d.retention().acceptedBefore(t.Context(), time.Now().Add(time.Hour)); err != nil || end != 51 {
		t.Errorf("the first young event is %d, %v", end, err)
	}
}
