package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// commandOp is one Command.
type commandOp struct {
	caller
	act      db.Command
	finished finished // of a Replay
	acted    db.CommandResult
}

func (o *commandOp) exec(w *writer) error {
	o.acted, o.err = db.CommandResult{}, o.excluded
	if o.err != nil {
		return nil
	}
	own, group := w.try(func() (err error) {
		o.acted, err = w.act(o.act, o.finished)
		return err
	})
	if o.err = own; own != nil {
		o.acted = db.CommandResult{}
	}
	return group
}

func (o *commandOp) retriedWhenFull() bool { return true }
func (o *commandOp) size() int             { return 4096 }

// act does a, once for a key. Whatever is refused is so before anything is written.
func (w *writer) act(a db.Command, f finished) (db.CommandResult, error) {
	if a.Key != "" {
		row, err := w.q.AuditByKey(background, text(a.Key))
		switch {
		case err == nil:
			return again(a, row)
		case !errors.Is(err, sql.ErrNoRows):
			return db.CommandResult{}, fmt.Errorf("look for key: %w", err)
		}
	}
	return w.do(a, f, 0)
}

// do is act where the key, if there is one, is new. bulk is the BulkCommand that a is a part
// of, or 0.
func (w *writer) do(a db.Command, f finished, bulk int64) (acted db.CommandResult, err error) {
	acted = db.CommandResult{At: unixMicro(w.now), ClientID: a.ClientID, Seq: a.Seq}
	if w.erasing.has(a.ClientID) {
		return db.CommandResult{}, refusal{db.ErrErasing}
	}
	switch a.Verb {
	case db.Pause, db.Resume:
		if a.ClientID == "" {
			err = w.pauseType(a, &acted)
		} else {
			err = w.pauseAccount(a, &acted)
		}
	case db.Retry:
		err = w.retry(a, &acted)
	case db.Skip:
		err = w.skip(a, &acted)
	case db.Redrive:
		err = w.redrive(a, &acted)
	case db.Replay:
		err = w.replay(a, f, &acted)
	}
	if err != nil {
		return db.CommandResult{}, err
	}
	answer, err := json.Marshal(answerOf(acted))
	if err != nil {
		return db.CommandResult{}, err
	}
	p := auditOf(a, acted.ClientID)
	p.At, p.Bulk, p.Answer = w.now, number(bulk), string(answer)
	if acted.ID, err = w.q.InsertAudit(background, p); err != nil {
		return db.CommandResult{}, fmt.Errorf("insert audit: %w", err)
	}
	return acted, nil
}

func auditOf(a db.Command, clientID string) q.InsertAuditParams {
	return q.InsertAuditParams{
		Who: a.Who, Verb: string(a.Verb), ClientID: text(clientID), Type: text(a.Type), Seq: number(a.Seq), ToSeq: number(a.To),
		Run: number(a.Run), Reason: a.Reason, Key: text(a.Key),
	}
}

// answer is CommandResult as it stands in audit.
type answer struct {
	Changed bool  `json:"changed"`
	Seq     int64 `json:"seq,omitempty"`
	Run     int64 `json:"run,omitempty"`
	To      int64 `json:"to,omitempty"`
	Events  int64 `json:"events,omitempty"`
	HeadSeq int64 `json:"head_seq,omitempty"`
}

func answerOf(a db.CommandResult) answer {
	return answer{a.Changed, a.Seq, a.Run, a.To, a.Events, a.HeadSeq}
}

// again returns what the key's act was answered.
func again(a db.Command, row q.AuditByKeyRow) (db.CommandResult, error) {
	clientID := a.ClientID
	if a.Verb == db.Redrive && clientID == "" {
		clientID = row.ClientID.String // the act didn't name it
	}
	want := auditOf(a, clientID)
	var s answer
	if row.Verb != want.Verb || row.ClientID != want.ClientID || row.Type != want.Type || row.Seq != want.Seq ||
		row.ToSeq != want.ToSeq || row.Run != want.Run || row.Bulk.Valid {
		return db.CommandResult{}, refusal{db.ErrKeyReused}
	}
	if err := json.Unmarshal([]byte(row.Answer), &s); err != nil {
		return db.CommandResult{}, refusal{fmt.Errorf("read audit %d: %w", row.ID, err)}
	}
	return db.CommandResult{
		ID: row.ID, At: unixMicro(row.At), Again: true, ClientID: row.ClientID.String,
		Changed: s.Changed, Seq: s.Seq, Run: s.Run, To: s.To, Events: s.Events, HeadSeq: s.HeadSeq,
	}, nil
}

func (w *writer) pauseType(a db.Command, acted *db.CommandResult) error {
	var n int64
	var err error
	if a.Verb == db.Pause {
		n, err = w.q.PauseType(background, q.PauseTypeParams{Type: a.Type, Since: w.now, Who: a.Who, Reason: a.Reason})
	} else {
		n, err = w.q.ResumeType(background, a.Type)
	}
	if err != nil {
		return fmt.Errorf("%s type: %w", a.Verb, err)
	}
	if acted.Changed = n == 1; acted.Changed {
		w.changes = append(w.changes, db.Change{Type: a.Type, Paused: a.Verb == db.Pause})
	}
	return nil
}

func (w *writer) pauseAccount(a db.Command, acted *db.CommandResult) error {
	s, head, err := w.standing(a.ClientID)
	if err != nil {
		return err
	}
	acted.HeadSeq = head.Seq
	paused := a.Verb == db.Pause
	if acted.Changed = paused != (s.Paused == 1); !acted.Changed {
		return nil
	}
	p := q.PauseAccountParams{ClientID: a.ClientID}
	if paused {
		p.Paused = 1
	}
	if err := w.q.PauseAccount(background, p); err != nil {
		return fmt.Errorf("%s account: %w", a.Verb, err)
	}
	w.rest(a.ClientID, restPaused, paused)
	return w.changed(a.ClientID, false)
}

// retry lets the head run now. Its attempts so far are forgotten.
func (w *writer) retry(a db.Command, acted *db.CommandResult) error {
	s, head, err := w.standing(a.ClientID)
	if err != nil {
		return err
	}
	acted.HeadSeq = head.Seq
	if head.Seq != a.Seq {
		return w.moved(a, head.Seq)
	}
	if acted.Changed = s.Parked == 1 || s.Attempts > 0; !acted.Changed {
		return nil
	}
	if err := w.release(a.ClientID); err != nil {
		return err
	}
	return w.changed(a.ClientID, false)
}

// skip ends the head as dead.
func (w *writer) skip(a db.Command, acted *db.CommandResult) error {
	s, head, err := w.standing(a.ClientID)
	if err != nil {
		return err
	}
	acted.HeadSeq = head.Seq
	if head.Seq != a.Seq {
		return w.moved(a, head.Seq)
	}
	ev, err := w.q.EventOf(background, head.Seq)
	if err != nil {
		return fmt.Errorf("look for event: %w", err)
	}
	pending, err := w.end(runID{a.ClientID, head.Turn, head.Seq, head.Run})
	if err != nil || !pending {
		return fmt.Errorf("end run: pending %t, %w", pending, err)
	}
	reason := "skipped"
	if a.Who != "" {
		reason += " by " + a.Who
	}
	if a.Reason != "" {
		reason += ": " + a.Reason
	}
	result := q.Result{
		Seq: head.Seq, Run: head.Run, Turn: head.Turn, Settled: w.nextSettled, Status: string(db.Dead),
		StartedAt: w.now, FinishedAt: time.Now().UnixMicro(), Error: text(db.Bounded(reason)),
	}
	if s.HeadSeq.Int64 == head.Seq {
		result.Attempts = s.Attempts
	}
	if err := w.hot.insertResult(q.InsertResultParams(result)); err != nil {
		return fmt.Errorf("insert result: %w", err)
	}
	w.nextSettled++
	w.settled, w.dead = append(w.settled, result), append(w.dead, ev.Type)
	if err := w.release(a.ClientID); err != nil {
		return err
	}
	if _, head, err = w.standing(a.ClientID); err != nil {
		return err
	}
	acted.Changed, acted.HeadSeq = true, head.Seq
	return w.changed(a.ClientID, true)
}

// redrive makes a dead event pending again, behind everything of its account.
func (w *writer) redrive(a db.Command, acted *db.CommandResult) error {
	ev, err := w.q.EventOf(background, a.Seq)
	clientID := ev.ClientID
	switch {
	case errors.Is(err, sql.ErrNoRows) && a.Seq < w.nextSeq:
		return refusal{db.ErrGone}
	case errors.Is(err, sql.ErrNoRows):
		return refusal{db.ErrNotFound}
	case err != nil:
		return fmt.Errorf("look for event: %w", err)
	case a.ClientID != "" && a.ClientID != clientID:
		return refusal{db.ErrNotFound}
	}
	if w.erasing.has(clientID) {
		return refusal{db.ErrErasing}
	}
	acted.ClientID = clientID
	r, err := w.q.Ending(background, a.Seq)
	pending := errors.Is(err, sql.ErrNoRows)
	if pending {
		r.Run, err = w.q.LastRun(background, a.Seq)
		r.Run++
	}
	if err != nil {
		return fmt.Errorf("look for result: %w", err)
	}
	acted.Run = r.Run
	switch {
	case a.Run > r.Run:
		return refusal{fmt.Errorf("%w: the latest run of seq %d is %d", db.ErrBadCommand, a.Seq, r.Run)}
	case a.Run > 0 && a.Run < r.Run:
		return nil // it was driven on already
	case pending:
		return refusal{db.ErrStillPending}
	case r.Status != string(db.Dead):
		return refusal{db.ErrNotDead}
	}
	turn := w.nextSeq
	w.nextSeq++
	if err := w.runAgain(clientID, a.Seq, r.Run+1, turn); err != nil {
		return err
	}
	acted.Changed, acted.Run = true, r.Run+1
	_, head, err := w.standing(clientID)
	if err != nil {
		return err
	}
	acted.HeadSeq = head.Seq
	return w.changed(clientID, true)
}

// runAgain moves an event's result to runs and makes it pending at turn.
func (w *writer) runAgain(clientID string, seq, run, turn int64) error {
	if n, err := w.q.KeepRun(background, seq); err != nil || n != 1 {
		return fmt.Errorf("keep run: %d rows, %w", n, err)
	}
	if n, err := w.q.DeleteResult(background, seq); err != nil || n != 1 {
		return fmt.Errorf("delete result: %d rows, %w", n, err)
	}
	if err := w.hot.insertPending(q.InsertPendingParams{ClientID: clientID, Turn: turn, Seq: seq, Run: run}); err != nil {
		return fmt.Errorf("insert pending: %w", err)
	}
	w.pend(clientID, 1)
	return nil
}

// standing returns the account's row, and its head: seq 0 if nothing is pending.
func (w *writer) standing(clientID string) (s q.StandingRow, head q.HeadRow, err error) {
	s, err = w.q.Standing(background, clientID)
	if errors.Is(err, sql.ErrNoRows) {
		return s, head, refusal{db.ErrNotFound}
	}
	if err != nil {
		return s, head, fmt.Errorf("read account: %w", err)
	}
	head, err = w.head(clientID)
	return s, head, err
}

// moved judges an act on a head that is another now: if this was done already, all
// is well.
func (w *writer) moved(a db.Command, head int64) error {
	n, err := w.q.WasDone(background, q.WasDoneParams{ClientID: text(a.ClientID), Verb: string(a.Verb), Seq: number(a.Seq)})
	switch {
	case err != nil:
		return fmt.Errorf("read audit: %w", err)
	case n == 0:
		return refusal{&db.HeadMovedError{Seq: head}}
	}
	return nil
}

// release clears what is said of the account's head.
func (w *writer) release(clientID string) error {
	if err := w.q.ReleaseAccount(background, clientID); err != nil {
		return fmt.Errorf("release account: %w", err)
	}
	w.rest(clientID, restParked, false)
	return nil
}

// changed notes what the account's row says now.
func (w *writer) changed(clientID string, reread bool) error {
	s, err := w.q.Standing(background, clientID)
	if err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	c := db.Change{
		ClientID: clientID, Paused: s.Paused == 1, Parked: s.Parked == 1, Attempts: int(s.Attempts),
		Replaying: s.ReplayNext.Valid, Reread: reread, Position: w.nextSeq,
	}
	if s.NextAt.Valid {
		c.NextAt = unixMicro(s.NextAt.Int64)
	}
	w.changes = append(w.changes, c)
	return nil
}

// text and number are NULL for the empty one.
func text(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
func number(n int64) sql.NullInt64 { return sql.NullInt64{Int64: n, Valid: n != 0} }
