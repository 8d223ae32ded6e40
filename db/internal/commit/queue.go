package commit

import (
	"time"
)

// Bounds of a group and of the queue.
const (
	maxGroupOps   = 1024
	maxGroupBytes = 4 << 20
	appendShare   = 4 // a quarter of a group's operations and bytes belongs to appends that wait
	maxQueueOps   = 65536
	maxQueueBytes = 64 << 20
)

// MaxAppendWait is how long an append waits at most: one that waited longer is refused
// with db.ErrOverloaded, or a *db.LockedError, not executed.
const MaxAppendWait = 2 * time.Second

// queue is what waits, in two parts: what is retried when the disk is full (settles and
// verbs), and appends. A share of each group is the appends', so that no backlog that is
// worked off keeps new events waiting.
type queue[W any] struct {
	first        []*Op[W] // settles and verbs
	appends      []*Op[W]
	bytes        int  // of appends
	appendsBegin bool // in the last group
	locked       locked
}

// back puts operations that were taken and not executed in front again.
func (q *queue[W]) back(ops []*Op[W]) {
	var first, appends []*Op[W]
	for _, op := range ops {
		if op.RetriedWhenFull {
			first = append(first, op)
		} else {
			appends = append(appends, op)
			q.bytes += op.Size
		}
	}
	q.first = append(first, q.first...)
	q.appends = append(appends, q.appends...)
}

// take returns the next group, of at most maxOps operations. Appends that have waited too
// long are refused.
func (q *queue[W]) take(maxOps int, now time.Time) []*Op[W] {
	if len(q.first) > 0 && q.first[0].Exclusive {
		op := q.first[0]
		q.first = pop(q.first)
		return []*Op[W]{op}
	}
	// Each kind has its share, and they begin by turns: a group that takes long is cut off.
	appends := group[W]{maxOps: maxOps, maxBytes: maxGroupBytes}
	if len(q.first) > 0 {
		appends = group[W]{maxOps: maxOps / appendShare, maxBytes: maxGroupBytes / appendShare}
	}
	q.takeAppends(&appends, now)
	others := group[W]{maxOps: maxOps - len(appends.ops), maxBytes: maxGroupBytes - maxGroupBytes/appendShare}
	for len(q.first) > 0 && !q.first[0].Exclusive && others.add(q.first[0]) {
		q.first = pop(q.first)
	}
	var ops []*Op[W]
	if q.appendsBegin = !q.appendsBegin; q.appendsBegin {
		ops = append(appends.ops, others.ops...)
	} else {
		ops = append(others.ops, appends.ops...)
	}
	rest := group[W]{ops: ops, bytes: appends.bytes + others.bytes, maxOps: maxOps, maxBytes: maxGroupBytes}
	q.takeAppends(&rest, now)
	return rest.ops
}

// takeAppends moves appends into a group, and refuses those that have waited too long.
func (q *queue[W]) takeAppends(g *group[W], now time.Time) {
	for len(q.appends) > 0 {
		op := q.appends[0]
		late := now.Sub(op.Began) > MaxAppendWait
		if !late && !g.add(op) {
			return
		}
		q.appends = pop(q.appends)
		q.bytes -= op.Size
		if late {
			op.finish(q.locked.err())
		}
	}
}

// refuseAppends empties the queue of appends.
func (q *queue[W]) refuseAppends(err error) {
	finish(q.appends, err)
	q.appends, q.bytes = nil, 0
}

// empty returns all that waits, and forgets it.
func (q *queue[W]) empty() []*Op[W] {
	waiting := append(q.first, q.appends...)
	q.first, q.appends, q.bytes = nil, nil, 0
	return waiting
}

// group is the operations of the next transaction, and its bounds.
type group[W any] struct {
	ops              []*Op[W]
	bytes            int
	maxOps, maxBytes int
}

// add reports whether op fits. The first one always does, unless the group has no room at all.
func (g *group[W]) add(op *Op[W]) bool {
	if len(g.ops) >= g.maxOps || len(g.ops) > 0 && g.bytes+op.Size > g.maxBytes {
		return false
	}
	g.ops, g.bytes = append(g.ops, op), g.bytes+op.Size
	return true
}

// pop drops the first element and lets go of a queue's memory once it is empty.
func pop[W any](q []*Op[W]) []*Op[W] {
	q[0] = nil
	if q = q[1:]; len(q) == 0 {
		return nil
	}
	return q
}

func finish[W any](ops []*Op[W], err error) {
	for _, op := range ops {
		op.finish(err)
	}
}
