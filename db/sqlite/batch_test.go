package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

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
		want := []string{"new 3", "repeat 1 done", "repeat 3 pending", "repeat 2 pending", "reused 2",
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
		batch := &batchOp{batch: db.Batch{Events: []db.Event{event("a", "1"), event("a", "2")}, Refused: map[string]bool{}}, caller: newCaller()}
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

// Results of repeats are left out where they would take too much memory at once.
func TestBatchResultsAreBounded(t *testing.T) {
	d := open(t, options(t, ":memory:"))
	big := strings.Repeat("x", db.MaxOutput-2)
	var batch db.Batch
	for i := range db.MaxBatchOutput/db.MaxOutput + 1 {
		ev := event("a", fmt.Sprint(i))
		batch.Events = append(batch.Events, ev)
		settle(t, d, done(appendEvent(t, d, ev), func(db.Tx) (any, error) { return big, nil }))
	}
	got, err := d.AppendBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range got {
		r := a.Receipt.Result
		if omitted := i == len(got)-1; r.Omitted != omitted || (len(r.Output) == 0) != omitted || a.Receipt.State != db.Done {
			t.Errorf("event %d: %v, omitted %v, %d bytes", i, a.Receipt.State, r.Omitted, len(r.Output))
		}
	}
}
