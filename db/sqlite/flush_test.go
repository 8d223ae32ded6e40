package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"inturn/db"
)

// smallBatches makes a database that files a few events at once.
func smallBatches(t *testing.T, path string) *DB {
	o := options(t, path)
	o.FlushBatch = 7
	return open(t, o)
}

// waitFlushed returns once less than a batch waits to be flushed.
func waitFlushed(t *testing.T, d *DB) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); d.flusher.behind(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("events are not flushed")
		}
	}
}

// An account's listing is the same whatever of it is flushed, from every cursor, and
// while it is being flushed.
func TestHistory(t *testing.T) {
	for name, path := range map[string]string{"memory": ":memory:", "file": tempFile(t)} {
		t.Run(name, func(t *testing.T) {
			d := smallBatches(t, path)
			seqs := map[string][]int64{}
			check := func() {
				t.Helper()
				for client, want := range seqs {
					after := int64(rand.IntN(int(want[len(want)-1]) + 1))
					limit := 1 + rand.IntN(len(want))
					newest := rand.IntN(2) == 1
					want := slices.DeleteFunc(slices.Clone(want), func(seq int64) bool {
						return newest && after > 0 && seq >= after || !newest && seq <= after
					})
					if newest {
						slices.Reverse(want)
					}
					want = want[:min(limit, len(want))]
					list, err := d.Events(t.Context(), db.Filter{ClientID: client, Newest: newest, After: after, Limit: limit})
					var got []int64
					for _, e := range list {
						got = append(got, e.Seq)
						if e.ClientID != client {
							t.Errorf("an event of %s is listed for %s", e.ClientID, client)
						}
					}
					if err != nil || !slices.Equal(got, want) {
						t.Fatalf("%s after %d, at most %d, newest %t: %v, %v, want %v", client, after, limit, newest, got, err, want)
					}
				}
			}
			for i := range 120 {
				client := fmt.Sprint("client", rand.IntN(5))
				ev := appendEvent(t, d, event(client, fmt.Sprint(i)))
				seqs[client] = append(seqs[client], ev.Seq)
				if i%5 == 0 {
					check()
				}
			}
			waitFlushed(t, d)
			check()
			if d.w.memtable.snapshot.flushedUpTo() < 100 {
				t.Errorf("flushed up to %d", d.w.memtable.snapshot.flushedUpTo())
			}
			got := rows(t, d, "SELECT group_concat(seq) FROM (SELECT seq FROM account_events WHERE client_id = 'client1' ORDER BY seq)")
			if want := seqs["client1"]; len(got) != 1 || got[0] != join(want) {
				t.Errorf("the view says %v, want %v", got, want)
			}
			if path == ":memory:" {
				return
			}
			d.Close()
			wantSound(t, path)
			d = smallBatches(t, path)
			if flushed := d.w.memtable.snapshot.flushedUpTo(); flushed != 120 {
				t.Errorf("flushed up to %d after the end in order", flushed)
			}
			check()
		})
	}
}

func join(seqs []int64) (s string) {
	for i, n := range seqs {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprint(n)
	}
	return s
}

// Events that are deleted while they wait to be flushed leave nothing behind, and one
// whose deletion was undone is flushed.
func TestHistoryOfDeletedEvents(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	var last db.Event
	for i := range 9 {
		last = appendEvent(t, d, event("c", fmt.Sprint(i)))
	}
	waiting := d.w.memtable.snapshot.oldest(d.w.memtable.snapshot.count())
	for _, broken := range []error{errors.New("too bad"), nil} {
		op := inside(func(w *writer) error {
			for _, seq := range []int64{2, 5, 6} {
				if broken != nil && seq != 2 {
					return broken
				}
				if broken == nil && seq == 2 {
					continue
				}
				if err := w.rare.exec("DELETE FROM lanes WHERE client_id = 'c' AND turn = ?", seq); err != nil {
					return err
				}
				if err := w.deleteEvent("c", seq); err != nil {
					return err
				}
			}
			return nil
		})
		submit(t, d, op)
		if <-op.Ended(); !errors.Is(op.Err, broken) {
			t.Fatalf("%v, want %v", op.Err, broken)
		}
	}
	if len(waiting) != 9 || len(d.w.memtable.events) != 9 {
		t.Fatalf("%v wait, %v are known", waiting, d.w.memtable.events)
	}
	for _, op := range []*operation{flushing(waiting), d.flusher.endBatch(last.Seq)} {
		if err := d.flusher.submit(op); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, d, "SELECT group_concat(seq) FROM history", "1,2,3,4,7,8,9")
	wantRows(t, d, "SELECT flushed FROM owner", "9")
	wantRows(t, d, "SELECT group_concat(seq) FROM lanes", "1,2,3,4,7,8,9")
	if n := len(d.w.memtable.events) + d.w.memtable.snapshot.count() + len(d.w.memtable.snapshot.waiting); n != 0 {
		t.Errorf("%d are remembered", n)
	}
}

// Filing goes on beside appends from many, and ends with the database.
func TestHistoryUnderLoad(t *testing.T) {
	path := tempFile(t)
	d := smallBatches(t, path)
	var senders sync.WaitGroup
	for s := range 8 {
		senders.Go(func() {
			for i := range 40 {
				if _, err := d.Append(t.Context(), event(fmt.Sprint(s), fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	if err := d.Close(); err != nil { // in the middle of it
		t.Fatal(err)
	}
	wantSound(t, path)
	d = smallBatches(t, path)
	appendEvent(t, d, event("0", "wake"))
	waitFlushed(t, d)
	d.Close()
	wantSound(t, path)
}
