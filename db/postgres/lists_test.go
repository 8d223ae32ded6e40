package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/postgres"
)

func TestAccountsByWhatIsPending(t *testing.T) {
	t.Parallel()
	d, _ := open(t, postgres.Options{FlushBatch: 4}) // what is pending is in lanes, and not yet
	accept(t, d, "c", "1")
	for i := range 3 {
		accept(t, d, "b", fmt.Sprint(i))
	}
	accept(t, d, "a", "1")
	accept(t, d, "a", "2")
	for sort, want := range map[db.AccountSort]string{db.ByClientID: "a b c", db.ByPending: "b a c", db.ByOldest: "c b a"} {
		list, err := d.Accounts(t.Context(), db.AccountFilter{Sort: sort, Limit: 10})
		got := ""
		for _, a := range list {
			got += a.ClientID + " "
		}
		if err != nil || got != want+" " {
			t.Errorf("%q: %s, want %s, %v", sort, got, want, err)
		}
	}
	if list, err := d.Accounts(t.Context(), db.AccountFilter{Sort: db.ByPending, Limit: 1}); err != nil || len(list) != 1 || list[0].ClientID != "b" || list[0].Pending != 3 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	d, _ := open(t, postgres.Options{})
	heard := make(chan db.Notice, 20)
	d.Watch(func(list []db.Notice) {
		for _, n := range list {
			heard <- n
		}
	})
	one, two := accept(t, d, "a", "1"), accept(t, d, "a", "2")
	if err := d.Hold(db.Hold{Event: one, Attempts: 1, NextAt: time.Now(), Error: "rain"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Hold(db.Hold{Event: one, Attempts: 2, Park: true, Error: "more rain"}); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Settle(done(one, true, nil)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := d.Execute(t.Context(), db.Command{Verb: db.Skip, ClientID: "a", Seq: two.Seq, Reason: "spam"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 6 {
		n := <-heard
		got = append(got, fmt.Sprint(n.Kind, n.MessageID, n.State, n.Error))
		if n.ClientID != "a" || n.Type != "note" || n.At.IsZero() || n.Run != 1 {
			t.Errorf("%+v", n)
		}
	}
	want := []string{"accepted1", "accepted2", "retrying1rain", "parked1more rain", "settled1done", "settled2deadskipped: spam"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	d.Watch(nil)
	accept(t, d, "a", "3")
	if len(heard) != 0 {
		t.Errorf("%+v", <-heard)
	}
}

// What PostgreSQL can't store, or can't do yet, is refused by its field, and its neighbours are
// taken.
func TestWhatCanNotBeStored(t *testing.T) {
	t.Parallel()
	d, s := open(t, postgres.Options{})
	ev := func(client, message string) db.Event {
		return db.Event{ClientID: client, MessageID: message, Type: "note", Payload: []byte(`{}`)}
	}
	null, later, odd := ev("a", "1"), ev("b", "1"), ev("c\xff", "1")
	null.Payload, later.DeliverAt = []byte("\"\x00\""), time.Now().Add(time.Hour)
	for field, ev := range map[string]db.Event{"payload": null, "deliver_at": later, "client_id": odd} {
		_, err := d.Append(t.Context(), ev)
		if fe, ok := errors.AsType[*db.FieldError](err); !ok || fe.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	results, err := d.AppendBatch(t.Context(), db.Batch{Refused: map[string]bool{}, Events: []db.Event{null, later, odd, ev("d", "1"), ev("a", "2")}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"payload", "deliver_at", "client_id"} {
		if fe, ok := errors.AsType[*db.FieldError](results[i].Err); !ok || fe.Field != want {
			t.Errorf("in a batch: %v, want %s", results[i].Err, want)
		}
	}
	if results[3].Err != nil || !errors.Is(results[4].Err, db.ErrNotAttempted) {
		t.Errorf("%+v", results[3:])
	}
	checkClosed(t, d, s)
}

func TestReplayable(t *testing.T) {
	t.Parallel()
	d, _ := open(t, postgres.Options{})
	var evs []db.Event
	for i := range 4 {
		evs = append(evs, accept(t, d, "a", fmt.Sprint(i)))
	}
	for _, ev := range evs[:3] {
		if n, err := d.Settle(done(ev, true, nil)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	for r, want := range map[[2]int64]int64{{0, 0}: 3, {evs[1].Seq, 0}: 2, {evs[1].Seq, evs[1].Seq}: 1, {evs[3].Seq, 0}: 0} {
		if n, err := d.Replayable(t.Context(), "a", r[0], r[1]); n != want || err != nil {
			t.Errorf("%v: %d, %v, want %d", r, n, err, want)
		}
	}
}
