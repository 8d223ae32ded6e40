package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

func (x *execution) pauseType() error {
	var n int64
	var err error
	if x.Verb == db.Pause {
		n, err = x.w.q.PauseType(background, q.PauseTypeParams{Type: x.Type, Since: x.w.now, Who: x.Who, Reason: x.Reason})
	} else {
		n, err = x.w.q.ResumeType(background, x.Type)
	}
	if err != nil {
		return fmt.Errorf("%s type: %w", x.Verb, err)
	}
	if x.result.Changed = n == 1; x.result.Changed {
		x.w.changes = append(x.w.changes, db.Change{Type: x.Type, Paused: x.Verb == db.Pause})
	}
	return nil
}

// pauseAccount pauses an account or ends its pause. An account that has no event yet begins
// paused.
func (x *execution) pauseAccount() error {
	if x.Verb == db.Pause {
		if err := x.w.q.InsertAccount(background, x.ClientID); err != nil {
			return fmt.Errorf("insert account: %w", err)
		}
	}
	s, head, err := x.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = head.Seq
	paused := x.Verb == db.Pause
	if x.result.Changed = paused != (s.Paused == 1); !x.result.Changed {
		return nil
	}
	p := q.PauseAccountParams{ClientID: x.ClientID}
	if paused {
		p.Paused = 1
	}
	if err := x.w.q.PauseAccount(background, p); err != nil {
		return fmt.Errorf("%s account: %w", x.Verb, err)
	}
	x.w.rest(x.ClientID, restPaused, paused)
	return x.w.changed(x.ClientID, false)
}

// retry lets the head run now. Its attempts so far are forgotten.
func (x *execution) retry() error {
	s, head, err := x.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = head.Seq
	if head.Seq != x.Seq {
		return x.moved(head.Seq)
	}
	if x.result.Changed = s.Parked == 1 || s.Attempts > 0; !x.result.Changed {
		return nil
	}
	if err := x.w.release(x.ClientID); err != nil {
		return err
	}
	return x.w.changed(x.ClientID, false)
}

// skip ends the head as dead.
func (x *execution) skip() error {
	s, head, err := x.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = head.Seq
	if head.Seq != x.Seq {
		return x.moved(head.Seq)
	}
	ev, err := x.w.q.EventOf(background, head.Seq)
	if err != nil {
		return fmt.Errorf("look for event: %w", err)
	}
	reason := "skipped"
	if x.Who != "" {
		reason += " by " + x.Who
	}
	if x.Reason != "" {
		reason += ": " + x.Reason
	}
	pending, err := x.setAside(runID{x.ClientID, head.Turn, head.Seq, head.Run}, ev, s, reason)
	if err != nil || !pending {
		return fmt.Errorf("end run: pending %t, %w", pending, err)
	}
	return nil
}

// setAside ends a run of the account s as dead. It reports false, and has written
// nothing, where the run is not pending.
func (x *execution) setAside(r runID, ev q.EventOfRow, s q.StandingRow, reason string) (bool, error) {
	if pending, err := x.w.end(r); err != nil || !pending {
		return false, err
	}
	return true, x.endAside(r, ev, s, reason)
}

// endAside writes that a run, which is not pending any more, ended dead.
func (x *execution) endAside(r runID, ev q.EventOfRow, s q.StandingRow, reason string) error {
	result := q.Result{
		Seq: r.seq, Run: r.run, Turn: r.turn, Settled: x.w.nextSettled, Status: string(db.Dead),
		StartedAt: x.w.now, FinishedAt: time.Now().UnixMicro(), Error: text(db.Bounded(reason)),
	}
	held := s.HeadSeq.Int64 == r.seq
	if held {
		result.Attempts = s.Attempts
	}
	if err := x.w.hot.insertResult(q.InsertResultParams(result)); err != nil {
		return fmt.Errorf("insert result: %w", err)
	}
	x.w.nextSettled++
	x.w.settled, x.w.dead = append(x.w.settled, result), append(x.w.dead, ev.Type)
	x.w.notices.settled(r.clientID, ev.MessageID, ev.Type, &result)
	if held {
		if err := x.w.release(r.clientID); err != nil {
			return err
		}
	}
	head, err := x.w.head(r.clientID)
	if err != nil {
		return err
	}
	x.result.Changed, x.result.HeadSeq = true, head.Seq
	return x.w.changed(r.clientID, true)
}

// redrive makes a dead event pending again, behind everything of its account.
func (x *execution) redrive() error {
	ev, err := x.event()
	if err != nil {
		return err
	}
	clientID := ev.ClientID
	if err := x.w.writable(clientID); err != nil {
		return err
	}
	x.result.ClientID = clientID
	r, err := x.w.q.Ending(background, x.Seq)
	pending := errors.Is(err, sql.ErrNoRows)
	if pending {
		r.Run, err = x.w.q.LastRun(background, x.Seq)
		r.Run++
	}
	if err != nil {
		return fmt.Errorf("look for result: %w", err)
	}
	x.result.Run = r.Run
	switch {
	case x.Run > r.Run:
		return refusal{fmt.Errorf("%w: the latest run of seq %d is %d", db.ErrBadCommand, x.Seq, r.Run)}
	case x.Run > 0 && x.Run < r.Run:
		return nil // it was driven on already
	case pending:
		return refusal{db.ErrStillPending}
	case r.Status != string(db.Dead):
		return refusal{db.ErrNotDead}
	}
	turn := x.w.nextSeq
	x.w.nextSeq++
	if err := x.w.runAgain(clientID, x.Seq, r.Run+1, turn); err != nil {
		return err
	}
	x.result.Changed, x.result.Run = true, r.Run+1
	_, head, err := x.account(clientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = head.Seq
	return x.w.changed(clientID, true)
}

// event returns the event that the Command names.
func (x *execution) event() (q.EventOfRow, error) {
	ev, err := x.w.q.EventOf(background, x.Seq)
	switch {
	case errors.Is(err, sql.ErrNoRows) && x.Seq < x.w.nextSeq:
		return ev, refusal{db.ErrGone}
	case errors.Is(err, sql.ErrNoRows):
		return ev, refusal{db.ErrNotFound}
	case err != nil:
		return ev, fmt.Errorf("look for event: %w", err)
	case x.ClientID != "" && x.ClientID != ev.ClientID:
		return ev, refusal{db.ErrNotFound}
	}
	return ev, nil
}

// account returns the account's row, and its head: seq 0 if nothing is pending.
func (x *execution) account(clientID string) (s q.StandingRow, head q.HeadRow, err error) {
	s, err = x.w.q.Standing(background, clientID)
	if errors.Is(err, sql.ErrNoRows) {
		return s, head, refusal{db.ErrNotFound}
	}
	if err != nil {
		return s, head, fmt.Errorf("read account: %w", err)
	}
	head, err = x.w.head(clientID)
	return s, head, err
}

// moved judges an act on a head that is another now: if this was done already, all
// is well.
func (x *execution) moved(head int64) error {
	n, err := x.w.q.WasDone(background, q.WasDoneParams{ClientID: text(x.ClientID), Verb: string(x.Verb), Seq: number(x.Seq)})
	switch {
	case err != nil:
		return fmt.Errorf("read audit: %w", err)
	case n == 0:
		return refusal{&db.HeadMovedError{Seq: head}}
	}
	return nil
}
