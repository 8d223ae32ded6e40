package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"inturn/db"
)

func TestFindAndEvents(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		if _, err := d.Find(t.Context(), "c", "m"); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("find nothing: %v", err)
		}
		began := time.Now().Add(-time.Microsecond)
		ev := event("c", "m1")
		ev.Attrs = json.RawMessage(`{"a":1}`)
		c1 := appendEvent(t, d, ev)
		nextMicrosecond()
		c2 := appendEvent(t, d, event("c", "m2"))
		nextMicrosecond()
		appendEvent(t, d, event("d", "m1"))
		settle(t, d, done(c1, note("n")), db.Settlement{Event: c2, Status: db.Dead, Error: "why", StartedAt: time.UnixMicro(5)})
		s, err := d.Find(t.Context(), "c", "m1")
		if err != nil {
			t.Fatal(err)
		}
		if s.ReceivedAt.Before(began) || s.ReceivedAt.After(time.Now()) || s.ReceivedAt.Location() != time.UTC {
			t.Errorf("received at %v", s.ReceivedAt)
		}
		first := s.ReceivedAt
		s.ReceivedAt, s.Result.FinishedAt = time.Time{}, time.Time{}
		want := db.StoredEvent{Event: ev, State: db.Done, Result: &db.Result{Status: db.Done, Run: 1, Attempts: 1, StartedAt: time.UnixMicro(1000).UTC(), Output: json.RawMessage(`"n"`)}}
		want.Seq = 1
		if fmt.Sprintf("%+v %+v", s.Event, s.Result) != fmt.Sprintf("%+v %+v", want.Event, want.Result) || s.State != db.Done {
			t.Errorf("got  %+v %+v\nwant %+v %+v", s, s.Result, want, want.Result)
		}
		second, err := d.Find(t.Context(), "c", "m2")
		if err != nil {
			t.Fatal(err)
		}
		at := second.ReceivedAt
		for _, test := range []struct {
			filter db.Filter
			want   string
		}{
			{db.Filter{Limit: 10}, "[1 done 2 dead 3 pending]"}, {db.Filter{Limit: 2}, "[1 done 2 dead]"}, {db.Filter{}, "[1 done]"},
			{db.Filter{After: 1, Limit: 10}, "[2 dead 3 pending]"}, {db.Filter{ClientID: "c", Limit: 10}, "[1 done 2 dead]"},
			{db.Filter{State: db.Pending, Limit: 10}, "[3 pending]"}, {db.Filter{State: db.Dead, Limit: 10}, "[2 dead]"},
			{db.Filter{ClientID: "c", State: db.Done, Limit: 10}, "[1 done]"}, {db.Filter{ClientID: "e", Limit: 10}, "[]"},
			{db.Filter{Newest: true, Limit: 10}, "[3 pending 2 dead 1 done]"}, {db.Filter{Newest: true, After: 3, Limit: 1}, "[2 dead]"}, {db.Filter{Newest: true, After: 1, Limit: 1}, "[]"},
			{db.Filter{ClientID: "c", Newest: true, Limit: 10}, "[2 dead 1 done]"}, {db.Filter{ClientID: "c", Newest: true, After: 2, Limit: 10}, "[1 done]"},
			{db.Filter{Type: "note", Limit: 10}, "[1 done 2 dead 3 pending]"}, {db.Filter{Type: "other", Limit: 10}, "[]"}, {db.Filter{Type: "other", ClientID: "c", Limit: 10}, "[]"},
			{db.Filter{RequestID: "r-m2", Limit: 10}, "[2 dead]"}, {db.Filter{RequestID: "r-m2", ClientID: "d", Limit: 10}, "[]"},
			{db.Filter{Since: at, Limit: 10}, "[2 dead 3 pending]"}, {db.Filter{Until: at, Limit: 10}, "[1 done]"},
			{db.Filter{Since: first, Until: at.Add(time.Microsecond), State: db.Dead, ClientID: "c", Newest: true, Limit: 10}, "[2 dead]"},
		} {
			list, err := d.Events(t.Context(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, s := range list {
				got = append(got, fmt.Sprint(s.Seq, " ", s.State))
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("%+v: %v, want %s", test.filter, got, test.want)
			}
		}
	})
}

// nextMicrosecond waits for the clock, so that two events have times of their own.
func nextMicrosecond() {
	for now := time.Now().UnixMicro(); time.Now().UnixMicro() <= now; {
	}
}

func TestPendingAfter(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		for i := range 5 {
			ev := event("c", fmt.Sprint(i))
			ev.Payload, ev.Attrs = json.RawMessage(fmt.Sprintf(`"%0100d"`, i)), json.RawMessage(`{"a":1}`)
			appendEvent(t, d, ev)
			appendEvent(t, d, event("other", fmt.Sprint(i)))
		}
		for _, test := range []struct {
			after        int64
			limit, bytes int
			want         string
			more         bool
		}{
			{0, 10, 1 << 20, "[0 1 2 3 4]", false}, {0, 3, 1 << 20, "[0 1 2]", true}, {3, 10, 1 << 20, "[2 3 4]", false},
			{0, 10, 250, "[0 1]", true}, {0, 10, 1, "[0]", true}, {9, 10, 1 << 20, "[]", false},
		} {
			events, more, err := d.PendingAfter(t.Context(), "c", test.after, test.limit, test.bytes)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, ev := range events {
				got = append(got, ev.MessageID)
				if ev.ClientID != "c" || ev.Position != ev.Seq || ev.Run != 1 || ev.Type != "note" || string(ev.Attrs) != `{"a":1}` || ev.RequestID != "r-"+ev.MessageID {
					t.Errorf("event %+v", ev)
				}
			}
			if fmt.Sprint(got) != test.want || more != test.more {
				t.Errorf("%+v: %v %v", test, got, more)
			}
		}
	})
}
