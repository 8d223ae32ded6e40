package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// effectLoop runs effects for the committer on a goroutine of its own, so that
// one that never returns can be left behind.
type effectLoop struct {
	calls   chan effectCall
	results chan effectResult
}

type effectCall struct {
	effect Effect
	tx     *Tx
}

type effectResult struct {
	out sql.NullString // JSON
	err error
}

func newEffectLoop() *effectLoop {
	l := &effectLoop{calls: make(chan effectCall), results: make(chan effectResult, 1)}
	go l.run()
	return l
}

func (l *effectLoop) run() {
	for c := range l.calls {
		l.call(c)
	}
}

var errGoexit = errors.New("the effect ended its goroutine")

func (l *effectLoop) call(c effectCall) {
	res := effectResult{err: errGoexit}
	defer func() {
		if p := recover(); p != nil {
			res = effectResult{err: &PanicError{Value: p, Stack: debug.Stack()}}
		}
		l.results <- res
	}()
	out, err := c.effect(c.tx)
	if err == nil && out != nil {
		res.out, err = marshalOutput(out)
	}
	res.err = err
}

func marshalOutput(out any) (sql.NullString, error) {
	b, err := json.Marshal(out)
	switch {
	case err != nil:
		return sql.NullString{}, fmt.Errorf("result: %w", err)
	case len(b) > MaxOutput:
		return sql.NullString{}, fmt.Errorf("result: %d bytes are more than %d", len(b), MaxOutput)
	}
	return sql.NullString{String: string(b), Valid: true}, nil
}

// PanicError is a panic of a function's code, as the failure of one attempt.
type PanicError struct {
	Value any
	Stack []byte // for the log
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// runEffect runs effect for ev and returns its result as JSON. The error is the
// effect's own, or a *groupError where the group is concerned.
func (w *writer) runEffect(ev Event, effect Effect) (sql.NullString, error) {
	tx := &Tx{w: w, event: ev}
	start := time.Now()
	res := w.callEffect(tx, effect)
	fatal := tx.close()
	if took := time.Since(start); took > SlowEffect {
		w.observer.SlowEffect(ev.Type)
		w.say(slog.LevelWarn, "slow effect", ev, slog.Duration("took", took))
	}
	switch {
	case fatal != nil:
		ge, ok := errors.AsType[*groupError](fatal)
		if !ok {
			ge = &groupError{w.handle.classify(fatal), fatal}
		}
		if ge.class == classGone && errors.Is(res.err, ErrEffectTooSlow) {
			ge = &groupError{classGone, res.err}
		}
		return sql.NullString{}, ge
	case !w.handle.inTransaction():
		return sql.NullString{}, &groupError{classGone, errors.Join(errors.New("the effect ended the transaction"), res.err)}
	}
	return res.out, res.err
}

// callEffect waits for the effect: MaxEffect until it is interrupted, and once
// more until it is left behind. Its Tx is dead by then, so it can write nothing.
func (w *writer) callEffect(tx *Tx, effect Effect) effectResult {
	w.effects.calls <- effectCall{effect, tx}
	w.effectTimer.Reset(MaxEffect)
	defer w.effectTimer.Stop()
	select {
	case res := <-w.effects.results:
		return w.ended(tx.event, res)
	case <-w.effectTimer.C:
	}
	// A statement that runs now ends with SQLITE_INTERRUPT and lets stop pass.
	stopped := make(chan struct{})
	go func() {
		tx.stop(ErrEffectTooSlow)
		close(stopped)
	}()
	for interrupted := false; !interrupted; {
		w.handle.interrupt()
		select {
		case <-stopped:
			interrupted = true
		case <-time.After(time.Millisecond):
		}
	}
	w.effectTimer.Reset(MaxEffect)
	select {
	case res := <-w.effects.results:
		w.ended(tx.event, res)
	case <-w.effectTimer.C:
		w.say(slog.LevelError, "an effect does not return and is left behind", tx.event)
		close(w.effects.calls)
		w.effects = newEffectLoop()
	}
	return effectResult{err: ErrEffectTooSlow}
}

// ended looks after an effect that ended in an unusual way.
func (w *writer) ended(ev Event, res effectResult) effectResult {
	if pe, ok := errors.AsType[*PanicError](res.err); ok {
		w.say(slog.LevelError, "an effect panicked", ev, slog.String("panic", fmt.Sprint(pe.Value)), slog.String("stack", string(pe.Stack)))
	}
	if errors.Is(res.err, errGoexit) {
		w.effects = newEffectLoop()
	}
	return res
}

// say logs what happened to an event, never its payload.
func (w *writer) say(level slog.Level, msg string, ev Event, more ...slog.Attr) {
	w.log.LogAttrs(context.Background(), level, msg, append([]slog.Attr{
		slog.String("type", ev.Type), slog.String("client_id", ev.ClientID), slog.String("message_id", ev.MessageID),
		slog.Int64("seq", ev.Seq), slog.Int("attempt", ev.Attempt), slog.String("request_id", ev.RequestID),
	}, more...)...)
}
