package commit

import (
	"context"
	"errors"
	"testing"
	"time"

	"inturn/db"
)

// queued returns a committer, not started, in which so many settles and appends wait.
func queued(t *testing.T, settles, appends, settleBytes, appendBytes int) *Committer[string] {
	t.Helper()
	c := stopped(&fake{})
	for range settles {
		if err := c.Submit(&Op[string]{RetriedWhenFull: true, Size: settleBytes}); err != nil {
			t.Fatal(err)
		}
	}
	for range appends {
		if err := c.Submit(&Op[string]{Size: appendBytes}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// A group has room for appends and for settles, however many of the other kind wait, and
// each kind is at its beginning at least every second time, since one that takes long is
// cut off.
func TestEachKindHasItsShare(t *testing.T) {
	for name, c := range map[string]*Committer[string]{
		"many settles":         queued(t, 10*maxGroupOps, 2*maxGroupOps, 100, 100),
		"many appends":         queued(t, 4*maxGroupOps, 10*maxGroupOps, 100, 100),
		"settles of a group":   queued(t, 10, 2*maxGroupOps, maxGroupBytes, 100),
		"batches of a group":   queued(t, 4*maxGroupOps, 10, 100, maxGroupBytes),
		"both as big as group": queued(t, 10, 10, maxGroupBytes, maxGroupBytes),
	} {
		began := map[bool]int{}
		for range 4 {
			ops, _, _ := c.take()
			has := map[bool]int{}
			for _, op := range ops {
				has[op.RetriedWhenFull]++
			}
			if has[true] == 0 || has[false] == 0 || len(ops) > maxGroupOps {
				t.Errorf("%s: a group of %d settles and %d appends", name, has[true], has[false])
				continue
			}
			began[ops[0].RetriedWhenFull]++
		}
		if began[true] != 2 || began[false] != 2 {
			t.Errorf("%s: settles begin %d times, appends %d", name, began[true], began[false])
		}
	}
}

// Appends alone, and settles alone, have the whole group.
func TestOneKindHasTheGroup(t *testing.T) {
	for _, c := range []*Committer[string]{queued(t, 2*maxGroupOps, 0, 1, 1), queued(t, 0, 2*maxGroupOps, 1, 1)} {
		if ops, _, _ := c.take(); len(ops) != maxGroupOps {
			t.Errorf("a group of %d", len(ops))
		}
	}
}

// An exclusive operation is a group of its own, and what was before it is not overtaken.
func TestExclusiveIsAlone(t *testing.T) {
	c := queued(t, 2, 0, 1, 1)
	alone := &Op[string]{RetriedWhenFull: true, Exclusive: true}
	for _, op := range []*Op[string]{alone, {RetriedWhenFull: true}} {
		if err := c.Submit(op); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int{2, 1, 1} {
		ops, _, _ := c.take()
		if len(ops) != want || (ops[0] == alone) != (i == 1) {
			t.Errorf("group %d has %d operations", i, len(ops))
		}
	}
}

// Appends that were queued before the disk was nearly full don't take what is kept for
// settles.
func TestQueuedAppendsAndANearlyFullDisk(t *testing.T) {
	c := queued(t, 2, 3, 100, 100)
	c.store.(*fake).room = db.ErrStorageFull
	refused := c.queue.appends[0]
	ops, _, _ := c.take()
	if len(ops) != 2 || !ops[0].RetriedWhenFull || !ops[1].RetriedWhenFull || len(c.queue.appends) != 0 || c.queue.bytes != 0 {
		t.Errorf("a group of %d, %d appends of %d bytes wait", len(ops), len(c.queue.appends), c.queue.bytes)
	}
	if err := outcome(refused); !errors.Is(err, db.ErrStorageFull) {
		t.Error(err)
	}
	if err := c.Submit(&Op[string]{}); !errors.Is(err, db.ErrStorageFull) {
		t.Errorf("another append: %v", err)
	}
}

// Appends that have waited too long are refused before they are executed, and nobody else is.
func TestLateAppendsAreRefused(t *testing.T) {
	c := stopped(&fake{})
	late := &Op[string]{Work: "late", Began: time.Now().Add(-2 * MaxAppendWait)}
	old := &Op[string]{Work: "old", Began: time.Now().Add(-time.Hour), RetriedWhenFull: true}
	fresh := &Op[string]{Work: "fresh", Began: time.Now().Add(time.Hour)}
	for _, op := range []*Op[string]{late, old, fresh} {
		if err := c.Submit(op); err != nil {
			t.Fatal(err)
		}
	}
	ops, _, _ := c.take()
	if len(ops) != 2 || ops[0] == late || ops[1] == late {
		t.Errorf("a group of %d", len(ops))
	}
	if err := outcome(late); !errors.Is(err, db.ErrOverloaded) {
		t.Errorf("late: %v", err)
	}
}

// The queue is bounded in number and in bytes; settles are always taken. What is taken is
// answered.
func TestQueueIsBounded(t *testing.T) {
	for name, bound := range map[string]struct{ size, taken int }{
		"number": {1, maxQueueOps},
		"bytes":  {1 << 20, maxQueueBytes >> 20},
	} {
		t.Run(name, func(t *testing.T) {
			c := stopped(&fake{})
			var taken []*Op[string]
			for len(taken) <= bound.taken {
				op := &Op[string]{Work: "good", Size: bound.size, Began: time.Now().Add(time.Hour)}
				if err := c.Submit(op); errors.Is(err, db.ErrOverloaded) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				taken = append(taken, op)
			}
			if len(taken) != bound.taken {
				t.Errorf("%d of %d bytes were taken, want %d", len(taken), bound.size, bound.taken)
			}
			settle := &Op[string]{Work: "good", RetriedWhenFull: true, Size: bound.size}
			if err := c.Submit(settle); err != nil {
				t.Errorf("a settle: %v", err)
			}
			go c.run()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			for _, op := range append(taken, settle) {
				if <-op.Ended(); op.Err != nil {
					t.Fatal(op.Err)
				}
			}
			if c.queue.bytes != 0 || len(c.queue.appends) != 0 {
				t.Errorf("left: %d bytes", c.queue.bytes)
			}
			if err := c.Do(context.Background(), &Op[string]{}); !errors.Is(err, db.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}
