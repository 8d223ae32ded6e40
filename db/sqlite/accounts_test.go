package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

func TestAccounts(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		if _, err := d.Account(t.Context(), "a"); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("no account: %v", err)
		}
		appendEvent(t, d, event("c", "1"))
		b1 := appendEvent(t, d, event("b", "1"))
		appendEvent(t, d, event("b", "2"))
		settle(t, d, done(appendEvent(t, d, event("a", "1")), nil))
		next := time.Now().Add(time.Hour).Truncate(time.Microsecond).UTC()
		if err := d.Hold(db.Hold{Event: b1, Attempts: 3, NextAt: next, Error: "why"}); err != nil {
			t.Fatal(err)
		}
		got, err := d.Account(t.Context(), "b")
		if want := (db.Account{ClientID: "b", Pending: 2, HeadSeq: b1.Seq, Attempts: 3, NextAt: next, LastError: "why"}); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if err := d.Hold(db.Hold{Event: b1, Attempts: 4, Park: true, Error: "why"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			after string
			limit int
			want  string
		}{{"", 10, "[a 0 false b 2 true c 1 false]"}, {"a", 1, "[b 2 true]"}, {"c", 10, "[]"}} {
			list, err := d.Accounts(t.Context(), db.AccountFilter{After: c.after, Limit: c.limit})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, a := range list {
				got = append(got, fmt.Sprint(a.ClientID, " ", a.Pending, " ", a.Parked))
			}
			if fmt.Sprint(got) != c.want {
				t.Errorf("after %q, %d: %v, want %s", c.after, c.limit, got, c.want)
			}
		}
	})
}

// A parked account's events count against its own bound and nobody else's, also
// after a restart and after a transaction that was rolled back.
func TestParkedBacklog(t *testing.T) {
	path := tempFile(t)
	o := options(t, path)
	o.MaxPending, o.MaxAccountPending = 4, 4
	d := open(t, o)
	take := func(client, id string, want error) db.Event {
		t.Helper()
		r, err := d.Append(t.Context(), event(client, id))
		if !errors.Is(err, want) {
			t.Fatalf("%s %s: %v, want %v", client, id, err, want)
		}
		ev := event(client, id)
		ev.Seq, ev.Position, ev.Run, ev.Attempt = r.Seq, r.Seq, 1, 1
		return ev
	}
	a1 := take("a", "1", nil)
	take("a", "2", nil)
	take("a", "3", nil)
	b1 := take("b", "1", nil)
	take("c", "1", db.ErrBacklogFull)
	if err := d.Hold(db.Hold{Event: a1, Attempts: 1, Park: true, Error: "why"}); err != nil {
		t.Fatal(err)
	}
	if n, _ := d.DrainRate(); n != 1 {
		t.Errorf("%d events are runnable", n)
	}
	take("a", "4", nil)
	if n, _ := d.DrainRate(); n != 1 {
		t.Errorf("%d events are runnable after another one of the parked account", n)
	}
	take("a", "5", db.ErrAccountFull)
	take("c", "1", nil)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, o)
	take("c", "2", nil)
	take("c", "3", nil)
	take("d", "1", db.ErrBacklogFull)
	// An effect that fails rolls its settle back: the account stays parked.
	_, err := d.Settle([]db.Settlement{{Event: a1, Status: db.Done, Held: true, StartedAt: time.Now(),
		Effect: func(db.Tx) (any, error) { return nil, errors.New("no") }}})
	if err == nil {
		t.Fatal("the effect's error is not told")
	}
	settle(t, d, done(b1, nil))
	take("d", "1", nil)
	take("d", "2", db.ErrBacklogFull)
	if err := d.Hold(db.Hold{Event: a1}); err != nil { // somebody resumed it
		t.Fatal(err)
	}
	if n, _ := d.DrainRate(); n != 8 {
		t.Errorf("%d events are runnable", n)
	}
}

// Sorted accounts are the first by their backlog, or by their oldest event, whether that is
// flushed or not.
func TestAccountsSorted(t *testing.T) {
	o := options(t, tempFile(t))
	d := open(t, o)
	last := map[string]db.Event{}
	for i, client := range []string{"c", "a", "b", "b", "a", "b", "d"} {
		last[client] = appendEvent(t, d, event(client, fmt.Sprint(i)))
	}
	for _, flushed := range []bool{false, true} {
		for sort, want := range map[db.AccountSort]string{db.ByClientID: "a b c", db.ByPending: "b a c", db.ByOldest: "c a b"} {
			accounts, err := d.Accounts(t.Context(), db.AccountFilter{Sort: sort, Limit: 3})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range accounts {
				got = append(got, a.ClientID)
				if pending := map[string]int{"a": 2, "b": 3, "c": 1}[a.ClientID]; a.Pending != pending {
					t.Errorf("%s has %d pending, want %d", a.ClientID, a.Pending, pending)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("sorted by %q, flushed %t: %q, want %s", sort, flushed, got, want)
			}
		}
		if !flushed { // a close does it
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open(t, o)
		}
	}
	settle(t, d, done(last["d"], nil))
	if accounts, err := d.Accounts(t.Context(), db.AccountFilter{Sort: db.ByPending, Limit: 10}); err != nil || len(accounts) != 3 {
		t.Errorf("%v, %v: only accounts with pending events are sorted", accounts, err)
	}
}

func TestReplayable(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		for i := range 4 {
			ev := appendEvent(t, d, event("a", fmt.Sprint(i)))
			if i < 3 {
				settle(t, d, done(ev, nil))
			}
		}
		for _, c := range [][3]int64{{0, 0, 3}, {2, 0, 2}, {2, 2, 1}, {4, 0, 0}} {
			if n, err := d.Replayable(t.Context(), "a", c[0], c[1]); err != nil || n != c[2] {
				t.Errorf("%d to %d: %d, %v; want %d", c[0], c[1], n, err, c[2])
			}
		}
	})
}
