package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"inturn/db"
)

// answers says what each event of a batch was told.
func answers(list []db.AppendResult) []string {
	var all []string
	for _, a := range list {
		reused, isReused := errors.AsType[*db.IDReusedError](a.Err)
		switch {
		case isReused:
			all = append(all, fmt.Sprint("reused ", reused.Seq))
		case a.Err != nil:
			all = append(all, a.Err.Error())
		case a.Receipt.Duplicate:
			all = append(all, fmt.Sprintf("repeat %d %s", a.Receipt.Seq, a.Receipt.State))
		default:
			all = append(all, fmt.Sprint("new ", a.Receipt.Seq))
		}
	}
	return all
}

func TestBatch(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		settle(t, d, done(appendEvent(t, d, event("a", "done")), nil))
		appendEvent(t, d, event("b", "pending"))
		other := event("b", "pending")
		other.Payload = []byte(`{"other":true}`)
		batch := []db.Event{
			event("a", "1"), event("a", "done"), event("a", "1"), // a repeat within the batch
			event("b", "pending"), other, event("b", "2"), // b goes no further than its conflict
			event("a", "2"),
		}
		refused := map[string]bool{"c": true}
		got, err := d.AppendBatch(t.Context(), db.Batch{Events: append(batch, event("c", "1")), Refused: refused})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"new 3", "repeat 1 ", "repeat 3 ", "repeat 2 ", "reused 2",
			db.ErrNotAttempted.Error(), "new 4", db.ErrNotAttempted.Error()}
		if !slices.Equal(answers(got), want) {
			t.Errorf("answers %q, want %q", answers(got), want)
		}
		if !refused["b"] || !refused["c"] || refused["a"] {
			t.Errorf("refused: %v", refused)
		}
		wantRows(t, d, `SELECT seq, client_id, message_id FROM outbox ORDER BY seq`,
			"1 a done", "2 b pending", "3 a 1", "4 a 2")
		wantRows(t, d, `SELECT client_id, turn FROM pending ORDER BY client_id, turn`, "a 3", "a 4", "b 2")

		// Without Refused everything that can be is taken.
		got, err = d.AppendBatch(t.Context(), db.Batch{Events: []db.Event{other, event("b", "2")}})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"reused 2", "new 5"}; !slices.Equal(answers(got), want) {
			t.Errorf("answers %q, want %q", answers(got), want)
		}
	})
}

// A group that runs again runs its batches from their begin.
func TestBatchInARefusedGroup(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		batch := newBatch(db.Batch{Events: []db.Event{event("a", "1"), event("a", "2")}, Refused: map[string]bool{}})
		failing := done(appendEvent(t, d, event("z", "1")), func(db.Tx) (any, error) { return nil, errors.New("no") })
		together(t, d, batch, settling(failing))
		if want := []string{"new 2", "new 3"}; !slices.Equal(answers(batch.answers), want) {
			t.Errorf("answers %q, want %q", answers(batch.answers), want)
		}
		wantRows(t, d, `SELECT seq, client_id FROM outbox ORDER BY seq`, "1 z", "2 a", "3 a")
	})
}

func TestBatchLimits(t *testing.T) {
	o := options(t, ":memory:")
	o.MaxAccountPending = 2
	d := open(t, o)
	batch := db.Batch{Events: []db.Event{event("a", "1"), event("a", "2"), event("a", "3"), event("a", "4"), event("b", "1")}, Refused: map[string]bool{}}
	got, err := d.AppendBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(got[2].Err, db.ErrAccountFull) || !errors.Is(got[3].Err, db.ErrNotAttempted) || got[4].Err != nil {
		t.Errorf("answers %q", answers(got))
	}
	wantRows(t, d, `SELECT client_id, message_id FROM outbox ORDER BY seq`, "a 1", "a 2", "b 1")
}

// Results of repeats, which may be large, are for who wants them.
func TestBatchOfRepeats(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	batch := db.Batch{Events: []db.Event{event("a", "1"), event("a", "2")}}
	settle(t, d, done(appendEvent(t, d, batch.Events[0]), func(db.Tx) (any, error) { return "x", nil }))
	appendEvent(t, d, batch.Events[1])
	got, err := d.AppendBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range got {
		if r := a.Receipt; !r.Duplicate || r.Seq != int64(i+1) || r.State != "" || r.Result != nil {
			t.Errorf("event %d: %+v", i, r)
		}
	}
	for seq, want := range map[int64]string{1: `"x"`, 2: "", 3: ""} {
		r, err := d.Result(t.Context(), seq)
		if err != nil || (r != nil) != (want != "") || r != nil && string(r.Output) != want {
			t.Errorf("result of %d: %+v, %v", seq, r, err)
		}
		state, err := d.State(t.Context(), seq)
		if err != nil || (state == db.Done) != (want != "") || (state == db.Pending) != (want == "") {
			t.Errorf("state of %d: %s, %v", seq, state, err)
		}
	}
}

// A list ends with the event that fills it, in all its parts.
func TestListsAreBoundedInBytes(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	size := 0
	for i := range 6 {
		ev := appendEvent(t, d, event("a", fmt.Sprint(i)))
		settle(t, d, db.Settlement{Event: ev, Status: db.Dead, Error: "bad"})
		all, err := d.Events(t.Context(), db.Filter{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		size = all[0].Size()
	}
	for name, list := range map[string]func(after int64, bytes int) ([]db.StoredEvent, error){
		"all": func(after int64, bytes int) ([]db.StoredEvent, error) {
			return d.Events(t.Context(), db.Filter{After: after, Limit: 4, MaxBytes: bytes})
		},
		"an account's": func(after int64, bytes int) ([]db.StoredEvent, error) {
			return d.Events(t.Context(), db.Filter{ClientID: "a", After: after, Limit: 4, MaxBytes: bytes})
		},
		"dead": func(after int64, bytes int) ([]db.StoredEvent, error) {
			return d.Dead(t.Context(), db.DeadFilter{After: after, Limit: 4, MaxBytes: bytes})
		},
	} {
		for bytes, want := range map[int]int{1: 1, size: 1, size + 1: 2, 3 * size: 3, 100 * size: 4, 0: 4} {
			if got, err := list(1, bytes); err != nil || len(got) != want || got[0].Seq != 2 {
				t.Errorf("%s, %d bytes: %d events, want %d: %v", name, bytes, len(got), want, err)
			}
		}
	}
}

// TestBatchOfRepeatsWithATime: an event is a repeat only with the deliver_at that it had.
func TestBatchOfRepeatsWithATime(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		at := time.UnixMicro(time.Now().Add(time.Hour).UnixMicro())
		timed, plain := event("c", "timed"), event("c", "plain")
		timed.DeliverAt = at
		first, err := d.AppendBatch(t.Context(), db.Batch{Events: []db.Event{timed, plain}})
		if err != nil || first[0].Err != nil || first[1].Err != nil {
			t.Fatal(first, err)
		}
		later, without, with := timed, timed, plain
		later.DeliverAt, without.DeliverAt, with.DeliverAt = at.Add(time.Microsecond), time.Time{}, at
		got, err := d.AppendBatch(t.Context(), db.Batch{Events: []db.Event{timed, plain, later, without, with}})
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range got {
			if i < 2 {
				if a.Err != nil || !a.Receipt.Duplicate || a.Receipt.Seq != first[i].Receipt.Seq {
					t.Errorf("repeat %d: %+v", i, a)
				}
				continue
			}
			if reused, ok := errors.AsType[*db.IDReusedError](a.Err); !ok || reused.Seq != first[[]int{0, 0, 1}[i-2]].Receipt.Seq {
				t.Errorf("another time %d: %+v", i, a)
			}
		}
	})
}
