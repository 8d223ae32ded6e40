package sqlite

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// queued is an operation that is only counted.
type queued struct {
	caller
	settles bool
	bytes   int
}

func (o *queued) exec(*writer) error    { return nil }
func (o *queued) retriedWhenFull() bool { return o.settles }
func (o *queued) size() int             { return o.bytes }

func queue(t *testing.T, settles, appends, settleBytes, appendBytes int) *committer {
	t.Helper()
	c := newCommitter(slog.New(slog.DiscardHandler), &space{}, func([]db.Event, []q.Result) {})
	for range settles {
		if err := c.submit(&queued{newCaller(), true, settleBytes}); err != nil {
			t.Fatal(err)
		}
	}
	for range appends {
		if err := c.submit(&queued{newCaller(), false, appendBytes}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// A group has room for appends and for settles, however many of the other kind wait, and
// each kind is at its beginning at least every second time, since one that takes long is
// cut off.
func TestEachKindHasItsShare(t *testing.T) {
	for name, c := range map[string]*committer{
		"many settles":         queue(t, 10*maxGroupOps, 2*maxGroupOps, 100, 100),
		"many appends":         queue(t, 4*maxGroupOps, 10*maxGroupOps, 100, 100),
		"settles of a group":   queue(t, 10, 2*maxGroupOps, maxGroupBytes, 100),
		"batches of a group":   queue(t, 4*maxGroupOps, 10, 100, maxGroupBytes),
		"both as big as group": queue(t, 10, 10, maxGroupBytes, maxGroupBytes),
	} {
		began := map[bool]int{}
		for range 4 {
			ops, _, _ := c.take()
			has := map[bool]int{}
			for _, op := range ops {
				has[op.retriedWhenFull()]++
			}
			if has[true] == 0 || has[false] == 0 || len(ops) > maxGroupOps {
				t.Errorf("%s: a group of %d settles and %d appends", name, has[true], has[false])
				continue
			}
			began[ops[0].retriedWhenFull()]++
		}
		if began[true] != 2 || began[false] != 2 {
			t.Errorf("%s: settles begin %d times, appends %d", name, began[true], began[false])
		}
	}
}

// Appends alone, and settles alone, have the whole group.
func TestOneKindHasTheGroup(t *testing.T) {
	for _, c := range []*committer{queue(t, 2*maxGroupOps, 0, 1, 1), queue(t, 0, 2*maxGroupOps, 1, 1)} {
		if ops, _, _ := c.take(); len(ops) != maxGroupOps {
			t.Errorf("a group of %d", len(ops))
		}
	}
}

// Appends that were queued before the disk was nearly full don't take what is kept for
// settles.
func TestQueuedAppendsAndANearlyFullDisk(t *testing.T) {
	c := queue(t, 2, 3, 100, 100)
	c.space.dir, c.space.at, c.space.err = t.TempDir(), time.Now().Add(time.Hour), db.ErrStorageFull
	refused := c.appends[0].(*queued)
	ops, _, _ := c.take()
	if len(ops) != 2 || !ops[0].retriedWhenFull() || !ops[1].retriedWhenFull() || len(c.appends) != 0 || c.bytes != 0 {
		t.Errorf("a group of %d, %d appends of %d bytes wait", len(ops), len(c.appends), c.bytes)
	}
	if <-refused.done; !errors.Is(refused.err, db.ErrStorageFull) {
		t.Error(refused.err)
	}
}
