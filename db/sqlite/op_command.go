package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// commandOp is one Command.
type commandOp struct {
	operation
	command  db.Command
	finished finished // of a Replay
	place    place    // of a Cancel
	result   db.CommandResult
}

func newCommand(c db.Command) *commandOp {
	o := &commandOp{command: c}
	o.Work, o.Size, o.RetriedWhenFull, o.Person = o, 4096, true, true
	return o
}

func (o *commandOp) run(w *writer, _ int) error {
	x := execution{w: w, Command: o.command, finished: o.finished, place: o.place}
	err := x.once()
	o.result = x.result
	return err
}

// execution is one Command as it is executed in a group's transaction.
type execution struct {
	w *writer
	db.Command
	finished finished // of a Replay
	place    place    // of a Cancel
	bulk     int64    // the BulkCommand that it is a part of, or 0
	result   db.CommandResult
}

// once executes the Command, once for a key. Whatever is refused is so before anything
// is written.
func (x *execution) once() error {
	if x.Key != "" {
		row, err := x.w.q.AuditByKey(background, text(x.Key))
		switch {
		case err == nil:
			return x.again(row)
		case !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("look for key: %w", err)
		}
	}
	return x.do()
}

// do executes a Command whose key, if there is one, is new.
func (x *execution) do() error {
	x.result = db.CommandResult{At: unixMicro(x.w.now), ClientID: x.ClientID, Seq: x.Seq}
	if err := x.w.writable(x.ClientID); err != nil {
		return err
	}
	if err := x.verb(); err != nil {
		return err
	}
	answer, err := json.Marshal(answerOf(x.result))
	if err != nil {
		return err
	}
	p := auditOf(x.Command, x.result.ClientID)
	p.At, p.Bulk, p.Answer = x.w.now, number(x.bulk), string(answer)
	if x.result.ID, err = x.w.q.InsertAudit(background, p); err != nil {
		return fmt.Errorf("insert audit: %w", err)
	}
	return nil
}

func (x *execution) verb() error {
	switch x.Verb {
	case db.Pause, db.Resume:
		if x.ClientID == "" {
			return x.pauseType()
		}
		return x.pauseAccount()
	case db.Retry:
		return x.retry()
	case db.Skip:
		return x.skip()
	case db.Redrive:
		return x.redrive()
	case db.Replay:
		return x.replay()
	case db.Cancel:
		return x.cancel()
	}
	return nil // Command.Check knows no other
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

// again answers what the key's Command was answered.
func (x *execution) again(row q.AuditByKeyRow) error {
	clientID := x.ClientID
	if x.Verb == db.Redrive && clientID == "" {
		clientID = row.ClientID.String // the Command didn't name it
	}
	want := auditOf(x.Command, clientID)
	var s answer
	if row.Verb != want.Verb || row.ClientID != want.ClientID || row.Type != want.Type || row.Seq != want.Seq ||
		row.ToSeq != want.ToSeq || row.Run != want.Run || row.Bulk.Valid {
		return refusal{db.ErrKeyReused}
	}
	if err := json.Unmarshal([]byte(row.Answer), &s); err != nil {
		return refusal{fmt.Errorf("read audit %d: %w", row.ID, err)}
	}
	x.result = db.CommandResult{
		ID: row.ID, At: unixMicro(row.At), Again: true, ClientID: row.ClientID.String,
		Changed: s.Changed, Seq: s.Seq, Run: s.Run, To: s.To, Events: s.Events, HeadSeq: s.HeadSeq,
	}
	return nil
}

// text and number are NULL for the empty one.
func text(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
func number(n int64) sql.NullInt64 { return sql.NullInt64{Int64: n, Valid: n != 0} }
