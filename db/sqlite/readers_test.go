package sqlite

import (
	"context"
	"errors"
	"testing"

	"inturn/db"
)

// TestReadersOfLanes: a lane is read, and an event found, while clients' lists have all
// that lists may have.
func TestReadersOfLanes(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	ev := appendEvent(t, d, event("a", "1"))
	for range maxLists {
		release, err := d.lists.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, events := d.Events(ended, db.Filter{})
	_, accounts := d.Accounts(ended, db.AccountFilter{})
	_, audit := d.Audit(ended, db.AuditFilter{})
	for _, err := range []error{events, accounts, audit} {
		if !errors.Is(err, db.ErrOverloaded) {
			t.Errorf("one list more: %v", err)
		}
	}
	if _, err := d.Find(t.Context(), "a", "1"); err != nil {
		t.Error(err)
	}
	for range maxReaders { // and where every connection of clients is taken
		c, err := d.readers.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if got, _, err := d.PendingAfter(t.Context(), "a", 0, 10, 1<<20); err != nil || len(got) != 1 || got[0].Seq != ev.Seq {
		t.Errorf("the lane: %v, %v", got, err)
	}
}
