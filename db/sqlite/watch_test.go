package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"inturn/db"
)

// What commits do with events is told once, in their order, and nothing of what was undone.
func TestWatch(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var mu sync.Mutex
		var told []string
		hear := func(list []db.Notice) {
			mu.Lock()
			defer mu.Unlock()
			for _, n := range list {
				if n.At.IsZero() || n.Type != "t" {
					t.Errorf("incomplete: %+v", n)
				}
				told = append(told, fmt.Sprint(n.Kind, " ", n.ClientID, " ", n.MessageID, " ", n.Seq, " ", n.Run, " ", n.State, " ", n.Attempts, " ", n.Error, " ", !n.NextAt.IsZero()))
			}
		}
		of := func(client, message string) db.Event {
			ev := event(client, message)
			ev.Type = "t"
			return ev
		}
		appendEvent(t, d, of("z", "before"))
		d.Watch(hear)
		first, second := appendEvent(t, d, of("a", "1")), appendEvent(t, d, of("b", "1"))
		if _, err := d.Append(t.Context(), of("a", "1")); err != nil { // a repeat is nothing new
			t.Fatal(err)
		}
		failing := errors.New("no")
		first.Attempt, second.Attempt = 1, 1
		if n, err := d.Settle([]db.Settlement{done(first, func(tx db.Tx) (any, error) {
			return nil, errors.Join(tx.Emit(of("z", "undone")), failing)
		})}); n != 0 || !errors.Is(err, failing) {
			t.Fatal(n, err)
		}
		next := time.Now().Add(time.Hour)
		for _, h := range []db.Hold{
			{Event: first, Attempts: 1, NextAt: next, Ahead: true, Error: "begun"},
			{Event: first, Attempts: 1, NextAt: next, Error: "failed"},
			{Event: second, Attempts: 2, Park: true, Error: "parked"},
		} {
			if err := d.Hold(h); err != nil {
				t.Fatal(err)
			}
		}
		ended := done(first, nil)
		ended.Held = true
		settle(t, d, ended)
		if _, err := d.Execute(t.Context(), db.Command{Verb: db.Skip, ClientID: "b", Seq: second.Seq, Who: "op", Reason: "why"}); err != nil {
			t.Fatal(err)
		}
		d.Watch(nil)
		appendEvent(t, d, of("z", "after"))
		mu.Lock()
		defer mu.Unlock()
		want := []string{
			fmt.Sprintf("accepted a 1 %d 1  0  false", first.Seq), fmt.Sprintf("accepted b 1 %d 1  0  false", second.Seq),
			fmt.Sprintf("retrying a 1 %d 1  1 failed true", first.Seq), fmt.Sprintf("parked b 1 %d 1  2 parked false", second.Seq),
			fmt.Sprintf("settled a 1 %d 1 done 1  false", first.Seq), fmt.Sprintf("settled b 1 %d 1 dead 2 skipped by op: why false", second.Seq),
		}
		if !slices.Equal(told, want) {
			t.Errorf("told %q\nwant %q", told, want)
		}
	})
}
