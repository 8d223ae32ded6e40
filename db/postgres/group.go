package postgres

import (
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
	"inturn/db/internal/commit"
)

// group is the transaction of operations that are committed together:
//
//	trip 1    BEGIN, the fence; appends; what of the settles is pending; holds;
//	          the first statement of each effect
//	trip n    the next statement of each effect
//	last      results; COMMIT
//
// A group of appends alone is one trip.
type group struct {
	w   *writer
	d   *delta
	now int64 // Unix microseconds

	ops     []*op
	appends []*appendOp
	batches []*batchOp
	settles []*settleOp
	holds   []*holdOp

	queued  []*call // the engine's, for the next trip
	begun   bool    // the first trip has been made
	room    room    // what the appends of this group take of the bounds before it is known which are new
	looked  []looked
	inserts []insert
}

// room is how many events are being taken in.
type room struct {
	all int
	of  map[string]int
}

func newGroup(w *writer, d *delta, ops []*op) *group {
	g := &group{w: w, d: d, now: time.Now().UnixMicro(), ops: ops, room: room{of: map[string]int{}}}
	for _, op := range ops {
		if op.Left() == 0 { // it was left out
			continue
		}
		switch o := op.Work.(type) {
		case *appendOp:
			g.appends = append(g.appends, o)
		case *batchOp:
			g.batches = append(g.batches, o)
		case *settleOp:
			o.begin(op)
			g.settles = append(g.settles, o)
		case *holdOp:
			g.holds = append(g.holds, o)
		}
	}
	return g
}

// execute runs the group and commits it.
func (g *group) execute() error {
	g.queueAppends()
	for _, o := range g.holds {
		g.queueHold(o)
	}
	if err := g.queueChecks(); err != nil {
		return err
	}
	if len(g.batches) > 0 || len(g.looked) > 0 || len(g.holds) > 0 || len(g.settles) > 0 {
		if err := g.runEffects(); err != nil {
			return err
		}
	}
	if err := g.queueResults(); err != nil {
		return err
	}
	calls := g.queued
	if !g.begun {
		calls = append(g.w.begin(), g.queued...)
	}
	if err := g.w.commit(calls...); err != nil {
		if fenced := g.w.fenced(g.fenceError(err), err); errors.Is(fenced, db.ErrFenced) {
			return failure(commit.Fenced, nil, fenced)
		}
		return err
	}
	g.finishAppends()
	g.finish()
	slices.SortStableFunc(g.d.published, func(a, b db.Event) int {
		return int(min(max(a.Seq-b.Seq, -1), 1))
	})
	return nil
}

// finish notes at each operation that all of it is done, or its own error.
func (g *group) finish() {
	for _, o := range g.ops {
		if _, ok := o.Work.(*settleOp); ok && o.Left() > 0 {
			continue // its steps have run
		}
		_ = o.Run(func(int) (own, group error) { return o.Work.(interface{ outcome() error }).outcome(), nil })
	}
}

// fenceError returns the place of the fence where err is its error: no other statement of a
// group of appends divides.
func (g *group) fenceError(err error) int {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "22012" && !g.begun {
		return fenceAt
	}
	return -1
}

// trip sends what is queued, with BEGIN before the first, and then calls. It returns which
// of calls has failed, or -1 where it was the engine's, which err says whose it is.
func (g *group) trip(calls []*call) (at int, err error) {
	own := g.queued
	if !g.begun {
		own = append(g.w.begin(), own...)
	}
	first := !g.begun
	g.queued, g.begun = nil, true
	at, err = g.w.trip(append(slices.Clip(own), calls...)...)
	if err != nil {
		if at >= len(own) {
			return at - len(own), err
		}
		if first {
			err = g.w.fenced(at, err)
		}
		return -1, failure(classify(err), nil, err)
	}
	if first {
		return -1, g.afterFirst()
	}
	return -1, nil
}

// afterFirst judges what the first trip found.
func (g *group) afterFirst() error {
	g.finishAppends()
	if err := g.decideBatches(); err != nil {
		return err
	}
	for _, o := range g.settles {
		if at := slices.Index(o.pending, false); at >= 0 {
			return o.op.Run(func(i int) (own, group error) {
				if i < at {
					return nil, nil
				}
				return nil, failure(commit.Own, o.op, db.ErrSuperseded)
			})
		}
	}
	return nil
}

// queueChecks asks which of the runs that are to be settled are pending, and takes their
// rows of lanes.
func (g *group) queueChecks() error {
	var fresh, lane checks
	for _, o := range g.settles {
		o.pending = make([]bool, o.op.Left())
		for i := range o.items[:o.op.Left()] {
			ev := &o.items[i].Event
			if g.w.erasing.has(ev.ClientID) {
				continue
			}
			if ev.Run == 1 && ev.Position == ev.Seq && ev.Seq > g.d.filedOf(ev.ClientID) {
				fresh.add(ev, &o.pending[i])
			} else {
				lane.add(ev, &o.pending[i])
			}
		}
	}
	if len(fresh.found) > 0 {
		g.queued = append(g.queued, &call{text: freshQuery, args: []any{fresh.clients, fresh.seqs}, read: fresh.read})
	}
	if len(lane.found) > 0 {
		g.queued = append(g.queued, &call{text: laneDelete, args: []any{lane.clients, lane.turns, lane.seqs, lane.runs}, read: lane.read})
	}
	return nil
}

// checks are runs, and where it is noted that one is pending.
type checks struct {
	clients           []string
	turns, seqs, runs []int64
	found             []*bool
}

func (c *checks) add(ev *db.Event, found *bool) {
	c.clients, c.turns = append(c.clients, ev.ClientID), append(c.turns, ev.Position)
	c.seqs, c.runs, c.found = append(c.seqs, ev.Seq), append(c.runs, ev.Run), append(c.found, found)
}

func (c *checks) read(rows pgx.Rows) error {
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return err
		}
		*c.found[n-1] = true
	}
	return rows.Err()
}

const (
	// freshQuery returns which of first runs, that are in no lane, are pending.
	freshQuery = `SELECT w.n FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS w(client_id, seq, n)
		WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.client_id = w.client_id AND o.seq = w.seq)
		  AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = w.seq) AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = w.seq)`

	// laneDelete takes rows out of lanes and returns which there were.
	laneDelete = `DELETE FROM lanes l USING unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS w(client_id, turn, seq, run, n)
		WHERE l.client_id = w.client_id AND l.turn = w.turn AND l.seq = w.seq AND l.run = w.run RETURNING w.n`

	insertResults = `INSERT INTO results (seq, run, turn, settled, status, attempts, started_at, finished_at, output, error)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[])`

	releaseAccounts = `UPDATE accounts SET head_seq = NULL, attempts = 0, next_at = NULL, parked = 0, last_error = NULL WHERE client_id = ANY($1::text[])`
)

// queueResults writes the results of all settles.
func (g *group) queueResults() error {
	var list []settled
	var released []string
	finished := time.Now().UnixMicro()
	for _, o := range g.settles {
		if !o.hasEffects() {
			_ = o.op.Run(func(int) (own, group error) { return nil, nil })
		}
		for i := range o.items[:o.op.Left()] {
			item := &o.items[i]
			ev := &item.Event
			n, err := g.w.number()
			if err != nil {
				return failure(commit.Own, nil, err)
			}
			s := settled{
				seq: ev.Seq, run: ev.Run, turn: ev.Position, settled: n, status: string(item.Status), attempts: int64(ev.Attempt),
				started: item.StartedAt.UnixMicro(), finished: finished, output: o.outputs[i],
			}
			if item.Status == db.Dead {
				reason := stored(db.Bounded(item.Error))
				s.reason = &reason
				g.d.dead = append(g.d.dead, ev.Type)
			}
			list = append(list, s)
			g.d.ended(ev.ClientID, ev.MessageID, ev.Type, &s)
			g.d.pend(ev.ClientID, -1)
			g.d.rest(ev.ClientID, restParked, false)
			if item.Held {
				released = append(released, ev.ClientID)
			}
		}
	}
	if len(list) > 0 {
		g.queued = append(g.queued, resultsCall(list))
		g.d.settled = append(g.d.settled, list...)
	}
	if len(released) > 0 {
		g.queued = append(g.queued, &call{text: releaseAccounts, args: []any{released}})
	}
	return nil
}

func resultsCall(list []settled) *call {
	seqs, runs, turns, places := make([]int64, len(list)), make([]int64, len(list)), make([]int64, len(list)), make([]int64, len(list))
	attempts, started, finished := make([]int64, len(list)), make([]int64, len(list)), make([]int64, len(list))
	statuses, outputs, reasons := make([]string, len(list)), make([]*string, len(list)), make([]*string, len(list))
	for i, s := range list {
		seqs[i], runs[i], turns[i], places[i], statuses[i], attempts[i] = s.seq, s.run, s.turn, s.settled, s.status, s.attempts
		started[i], finished[i], outputs[i], reasons[i] = s.started, s.finished, s.output, s.reason
	}
	return &call{text: insertResults, args: []any{seqs, runs, turns, places, statuses, attempts, started, finished, outputs, reasons}}
}

// runEffects runs the effects of the settles in lockstep, and makes the first trip.
func (g *group) runEffects() error {
	l := newLockstep(g)
	if err := l.run(); err != nil {
		return err
	}
	if !g.begun {
		if _, err := g.trip(nil); err != nil {
			return err
		}
	}
	if l.limited {
		g.queued = append(g.queued, &call{text: "SET LOCAL statement_timeout = 0"})
	}
	return nil
}

// queueHold records a hold if its run is pending.
func (g *group) queueHold(o *holdOp) {
	o.err, o.found = nil, false
	h := &o.hold
	ev := &h.Event
	if g.w.erasing.has(ev.ClientID) {
		o.err = db.ErrSuperseded
		return
	}
	none := h.Attempts == 0 && !h.Park
	var head, next *int64
	var reason *string
	parked := 0
	if !none {
		text := stored(db.Bounded(h.Error))
		head, reason = &ev.Seq, &text
		if h.Park {
			parked = 1
		} else {
			at := h.NextAt.UnixMicro()
			next = &at
		}
	}
	g.queued = append(g.queued, &call{
		text: holdAccount,
		args: []any{ev.ClientID, ev.Position, ev.Seq, ev.Run, g.d.filedOf(ev.ClientID), head, h.Attempts, next, parked, reason},
		read: func(rows pgx.Rows) error {
			for rows.Next() {
				var paused int
				var replay *int64
				if err := rows.Scan(&paused, &replay); err != nil {
					return err
				}
				o.found = true
				c := db.Change{ClientID: ev.ClientID, Paused: paused == 1, Replaying: replay != nil, Parked: h.Park, Attempts: h.Attempts}
				if none {
					c.Position = g.w.nextNumber()
				} else if !h.Park {
					c.NextAt = h.NextAt
				}
				g.d.changes = append(g.d.changes, c)
				g.d.rest(ev.ClientID, restParked, h.Park)
				g.d.held(g.now, h)
			}
			if !o.found {
				o.err = db.ErrSuperseded
			}
			return rows.Err()
		},
	})
}

const holdAccount = `UPDATE accounts SET head_seq = $6, attempts = $7, next_at = $8, parked = $9, last_error = $10
	WHERE client_id = $1 AND (EXISTS (SELECT 1 FROM lanes l WHERE l.client_id = $1 AND l.turn = $2 AND l.seq = $3 AND l.run = $4)
		OR $4 = 1 AND $2 = $3 AND $3 > $5::bigint AND EXISTS (SELECT 1 FROM outbox o WHERE o.client_id = $1 AND o.seq = $3)
			AND NOT EXISTS (SELECT 1 FROM results r WHERE r.seq = $3) AND NOT EXISTS (SELECT 1 FROM runs k WHERE k.seq = $3))
	RETURNING paused, replay_next`
