package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"inturn/db"
	"inturn/db/internal/commit"
)

// effectResult is what an effect has come to.
type effectResult struct {
	out sql.NullString // JSON
	err error
}

var errGoexit = errors.New("the effect ended its goroutine")

// run runs effect and returns its result as JSON. The error is the
// effect's own, or a *commit.Error where the group is concerned.
func (tx *effectTx) run(effect db.Effect) (sql.NullString, error) {
	w := tx.w
	res := tx.call(effect)
	fatal := tx.close()
	if pe, ok := res.err.(*db.PanicError); ok {
		w.events.say(slog.LevelError, "an effect panicked", tx.event, slog.String("panic", fmt.Sprint(pe.Value)), slog.String("stack", string(pe.Stack)))
	}
	switch {
	case fatal != nil:
		ge, ok := errors.AsType[*commit.Error](fatal)
		if !ok {
			ge = &commit.Error{Class: classify(w.conn, fatal), Err: fatal}
		}
		if ge.Class == commit.TxAborted && errors.Is(res.err, db.ErrEffectTooSlow) {
			ge = &commit.Error{Class: commit.TxAborted, Err: res.err}
		}
		return sql.NullString{}, ge
	case !w.conn.InTransaction():
		return sql.NullString{}, &commit.Error{Class: commit.TxAborted, Err: errors.Join(errors.New("the effect ended the transaction"), res.err)}
	}
	if res.err == nil && tx.refused != nil { // also where the effect has swallowed it
		return sql.NullString{}, tx.refused
	}
	return res.out, res.err
}

// call runs on the executor. It doesn't return if the effect ends its goroutine or
// was left behind.
func (tx *effectTx) call(effect db.Effect) (res effectResult) {
	h := tx.w.executor
	h.begin(tx)
	returns := false
	defer func() {
		if p := recover(); p != nil {
			returns, res = true, effectResult{err: &db.PanicError{Value: p, Stack: debug.Stack()}}
		}
		took, stopped := h.end()
		if stopped {
			res = effectResult{err: db.ErrEffectTooSlow}
		}
		if took > db.SlowEffect {
			tx.w.events.slow(tx.event, took)
		}
		if !returns {
			_ = tx.close() // the group ends anyway
		}
	}()
	out, err := effect(tx)
	if err == nil && out != nil {
		res.out, err = marshalOutput(out)
	}
	returns, res.err = true, err
	return res
}

func marshalOutput(out any) (sql.NullString, error) {
	b, err := json.Marshal(out)
	switch {
	case err != nil:
		return sql.NullString{}, fmt.Errorf("result: %w", err)
	case len(b) > db.MaxOutput:
		return sql.NullString{}, fmt.Errorf("result: %d bytes are more than %d", len(b), db.MaxOutput)
	}
	return sql.NullString{String: string(b), Valid: true}, nil
}
