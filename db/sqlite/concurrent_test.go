package sqlite

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inturn/db"
)

// TestManyAtOnce: callers of every kind, good and bad, in whatever groups they come;
// each identity is new once, events are published in the order of seq, and every
// effect that was told as settled is there once.
func TestManyAtOnce(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		var last int64
		d.OnAppend(func(events []db.Event) {
			for _, ev := range events {
				if ev.Seq != last+1 {
					t.Errorf("seq %d is published after %d", ev.Seq, last)
				}
				last = ev.Seq
			}
		})
		const callers, each = 32, 12
		kinds := badEffects()
		var fresh, notes atomic.Int64
		var all sync.WaitGroup
		for c := range callers {
			all.Go(func() {
				client := fmt.Sprint("c", c)
				for i := range each {
					// All callers send the same identities of one account, and their own.
					r, err := resend(t, d, event("shared", fmt.Sprint(i)))
					if err != nil {
						t.Error(err)
						return
					}
					if !r.Duplicate {
						fresh.Add(1)
					}
					ev := event(client, fmt.Sprint(i))
					if r, err = resend(t, d, ev); err != nil {
						t.Error(err)
						return
					}
					ev.Seq, ev.Position, ev.Run, ev.Attempt = r.Seq, r.Seq, 1, 1
					if bad := kinds[(c+i)%len(kinds)]; i%3 == 0 {
						if _, err := d.Settle([]db.Settlement{done(ev, bad.effect)}); err == nil {
							t.Errorf("%s was settled", bad.name)
						}
						if err := d.Hold(db.Hold{Event: ev, Attempts: 1, NextAt: time.UnixMicro(1), Error: "e"}); err != nil {
							t.Error(err)
						}
					}
					s := done(ev, note(fmt.Sprint(client, " ", i)))
					s.Held = i%3 == 0
					if n, err := d.Settle([]db.Settlement{s}); n != 1 || err != nil {
						t.Errorf("settled %d, %v", n, err)
						return
					}
					notes.Add(1)
					if n, err := d.Settle([]db.Settlement{s}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
						t.Errorf("settled again: %d, %v", n, err)
					}
				}
			})
		}
		all.Wait()
		if n := fresh.Load(); n != each {
			t.Errorf("%d of %d shared identities were new", n, each)
		}
		wantRows(t, d, "SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM results), (SELECT count(*) FROM pending), (SELECT count(*) FROM accounts WHERE head_seq IS NOT NULL)",
			fmt.Sprint(notes.Load(), callers*each, each, 0))
	})
}

// resend does what a sender does who is told to come back.
func resend(t *testing.T, d *DB, ev db.Event) (r db.Receipt, err error) {
	for {
		if r, err = d.Append(t.Context(), ev); !errors.Is(err, db.ErrOverloaded) {
			return r, err
		}
	}
}
