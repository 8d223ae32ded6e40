package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// Execute does what an operator wants, in one transaction with its row in audit, and returns
// once that is committed. Doing a thing again is no error (CommandResult.Changed is false),
// so every Command may be sent again. What each verb does, and its errors, are as on SQLite:
// see sqlite.DB.Execute.
func (d *DB) Execute(ctx context.Context, a db.Command) (db.CommandResult, error) {
	if err := a.Check(); err != nil {
		return db.CommandResult{}, err
	}
	var x *command
	err := d.solo(ctx, func(t *transactionOf) error {
		x = &command{t: t, Command: a, running: d.running.Load()}
		return x.once()
	}, nil)
	if err != nil {
		return db.CommandResult{}, err
	}
	return x.result, nil
}

// command is one Command as it is executed in its transaction.
type command struct {
	t *transactionOf
	db.Command
	running *func(clientID string, seq int64) bool
	bulk    *int64 // the BulkCommand that it is a part of
	result  db.CommandResult
}

// once executes the Command, once for a key. Whatever is refused is so before anything is
// written.
func (x *command) once() error {
	if x.Key != "" {
		row, err := auditByKey(x.t, x.Key)
		switch {
		case err == nil:
			return x.again(row)
		case !errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("look for key: %w", err)
		}
	}
	return x.do()
}

// do executes a Command whose key, if there is one, is new.
func (x *command) do() error {
	x.result = db.CommandResult{At: unixMicro(x.t.now), ClientID: x.ClientID, Seq: x.Seq}
	if x.t.w.erasing.has(x.ClientID) {
		return refusal{db.ErrErasing}
	}
	if err := x.verb(); err != nil {
		return err
	}
	answer, err := json.Marshal(answerOf(x.result))
	if err != nil {
		return err
	}
	x.result.ID, err = insertAudit(x.t, x.Command, x.result.ClientID, x.bulk, string(answer))
	return err
}

func (x *command) verb() error {
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

// insertAudit writes a row of audit and returns its id.
func insertAudit(t *transactionOf, c db.Command, clientID string, bulk *int64, answer string) (id int64, err error) {
	err = t.row(`INSERT INTO audit (at, who, verb, client_id, type, seq, to_seq, run, reason, bulk, key, answer)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id`,
		[]any{t.now, stored(c.Who), string(c.Verb), textOrNull(clientID), textOrNull(c.Type), orNull(c.Seq), orNull(c.To), orNull(c.Run), stored(c.Reason),
			bulk, textOrNull(c.Key), answer}, &id)
	if err != nil {
		return 0, fmt.Errorf("insert audit: %w", err)
	}
	return id, nil
}

// textOrNull and orNull are NULL for the empty one.
func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	s = stored(s)
	return &s
}

func orNull(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
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

// audited is a row of audit that has a key.
type audited struct {
	id, at, seq, to, run int64
	bulk                 *int64
	verb                 db.Verb
	clientID, typ        string
	answer               []byte
}

func auditByKey(t *transactionOf, key string) (a audited, err error) {
	err = t.row(`SELECT id, at, verb, coalesce(client_id, ''), coalesce(type, ''), coalesce(seq, 0), coalesce(to_seq, 0), coalesce(run, 0), bulk, answer
		FROM audit WHERE key = $1`, []any{stored(key)}, &a.id, &a.at, &a.verb, &a.clientID, &a.typ, &a.seq, &a.to, &a.run, &a.bulk, &a.answer)
	return a, err
}

// again answers what the key's Command was answered.
func (x *command) again(row audited) error {
	clientID := x.ClientID
	if x.Verb == db.Redrive && clientID == "" {
		clientID = row.clientID // the Command didn't name it
	}
	if row.verb != x.Verb || row.clientID != clientID || row.typ != x.Type || row.seq != x.Seq || row.to != x.To || row.run != x.Run || row.bulk != nil {
		return refusal{db.ErrKeyReused}
	}
	var s answer
	if err := json.Unmarshal(row.answer, &s); err != nil {
		return refusal{fmt.Errorf("read audit %d: %w", row.id, err)}
	}
	x.result = db.CommandResult{
		ID: row.id, At: unixMicro(row.at), Again: true, ClientID: row.clientID,
		Changed: s.Changed, Seq: s.Seq, Run: s.Run, To: s.To, Events: s.Events, HeadSeq: s.HeadSeq,
	}
	return nil
}
