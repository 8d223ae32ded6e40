package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"inturn/db"
)

// effectResult is what an effect has come to.
type effectResult struct {
	out sql.NullString // JSON
	err error
}

var errGoexit = errors.New("the effect ended its goroutine")

// runEffect runs effect for ev and returns its result as JSON. The error is the
// effect's own, or a *groupError where the group is concerned.
func (w *writer) runEffect(ev db.Event, effect db.Effect) (sql.NullString, error) {
	tx := &effectTx{w: w, event: ev}
	res := w.callEffect(tx, effect)
	fatal := tx.close()
	if pe, ok := res.err.(*db.PanicError); ok {
		w.say(slog.LevelError, "an effect panicked", ev, slog.String("panic", fmt.Sprint(pe.Value)), slog.String("stack", string(pe.Stack)))
	}
	switch {
	case fatal != nil:
		ge, ok := errors.AsType[*groupError](fatal)
		if !ok {
			ge = &groupError{classify(w.conn, fatal), fatal}
		}
		if ge.class == classTxAborted && errors.Is(res.err, db.ErrEffectTooSlow) {
			ge = &groupError{classTxAborted, res.err}
		}
		return sql.NullString{}, ge
	case !w.conn.InTransaction():
		return sql.NullString{}, &groupError{classTxAborted, errors.Join(errors.New("the effect ended the transaction"), res.err)}
	}
	if res.err == nil && tx.refused != nil { // also where the effect has swallowed it
		return sql.NullString{}, tx.refused
	}
	return res.out, res.err
}

// callEffect runs on the executor. It doesn't return if the effect ends its goroutine or
// was left behind.
func (w *writer) callEffect(tx *effectTx, effect db.Effect) (res effectResult) {
	h := w.executor
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
			w.slow(tx.event, took)
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

func (w *writer) slow(ev db.Event, took time.Duration) {
	w.observer.SlowEffect(ev.Type)
	w.say(slog.LevelWarn, "slow effect", ev, slog.Duration("took", took))
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

// say logs what happened to an event, never its payload.
func (w *writer) say(level slog.Level, msg string, ev db.Event, more ...slog.Attr) {
	w.log.LogAttrs(context.Background(), level, msg, append([]slog.Attr{
		slog.String("type", ev.Type), slog.String("client_id", ev.ClientID), slog.String("message_id", ev.MessageID),
		slog.Int64("seq", ev.Seq), slog.Int("attempt", ev.Attempt), slog.String("request_id", ev.RequestID),
	}, more...)...)
}
