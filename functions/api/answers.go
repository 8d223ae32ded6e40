package api

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// DefaultMaxAnswers bounds what all answers together hold in memory, in bytes.
const DefaultMaxAnswers = 64 << 20

const (
	// smallAnswer is the most bytes of an answer that may use the last quarter of the bound:
	// large answers that are not read could else keep all others out.
	smallAnswer = 64 << 10
	// answerChunk is about how many bytes of an answer are written at once.
	answerChunk = 16 << 10
	// answerIdle is how long a client may leave an answer unread, and answerTime how long
	// it may take to read an answer to its end.
	answerIdle = writeTimeout
	answerTime = 5 * time.Minute
)

// readsAtOnce is how many reads of each kind may be between the storage and their count. The
// storage does no more at once.
const readsAtOnce = 8

// answerBudget bounds the bytes of all answers that are in memory, from the read of
// the storage until the client has taken what was read.
type answerBudget struct {
	max  int64
	held atomic.Int64

	// What was read is counted only then: before, a slot is held.
	lists, single chan struct{}
}

func newAnswerBudget(most int64) *answerBudget {
	return &answerBudget{max: most, lists: make(chan struct{}, readsAtOnce), single: make(chan struct{}, readsAtOnce)}
}

// list calls read, which reads a list and counts it, with a slot.
func (b *answerBudget) list(ctx context.Context, read func() error) error {
	return withSlot(ctx, b.lists, read)
}

// one calls read, which reads one event or result and counts it, with a slot.
func (b *answerBudget) one(ctx context.Context, read func() error) error {
	return withSlot(ctx, b.single, read)
}

func withSlot(ctx context.Context, slots chan struct{}, read func() error) error {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-slots }()
	return read()
}

// reserve counts n bytes, if there is room for so many, and reports that. Each counts
// three times: the collector lets as much stand of answers that were taken, and the storage's
// pages stay cached.
func (b *answerBudget) reserve(n int) bool {
	limit := b.max / 3
	if n > smallAnswer {
		limit -= limit / 4
	}
	for {
		held := b.held.Load()
		if n > 0 && held+int64(n) > limit {
			return false
		}
		if b.held.CompareAndSwap(held, held+int64(n)) {
			return true
		}
	}
}

// release gives n bytes back.
func (b *answerBudget) release(n int) { b.held.Add(-int64(n)) }

// hold reserves n bytes of x's answer, in place of what it held before. The end of the
// request gives the room back.
func (x *exchange) hold(n int) error {
	x.answers.release(x.held)
	if x.held = n; !x.answers.reserve(n) {
		x.held = 0
		return overloaded.withDetail("too many answers are waiting to be read: ask again later, or for less")
	}
	return nil
}

// answerWriter writes the JSON of a 200 answer whose length need not be known before: it is
// written in pieces, and a client that takes nothing for answerIdle is cut off. What
// fits one piece goes out at the end, with its length.
type answerWriter struct {
	x        *exchange
	rc       *http.ResponseController
	buf      []byte
	begun    bool // the header is out
	size     int  // bytes that were written before those in buf
	start    time.Time
	deadline time.Time // of writes
	err      error     // the client is gone
}

func newAnswerWriter(x *exchange) *answerWriter {
	return &answerWriter{x: x, rc: http.NewResponseController(x)}
}

// append adds p.
func (w *answerWriter) append(p []byte) {
	if len(p) < answerChunk {
		w.buf = append(w.buf, p...)
		w.spill()
		return
	}
	w.flush() // p itself is not copied
	w.write(p)
}

// text adds s.
func (w *answerWriter) text(s string) { w.buf = append(w.buf, s...) }

// spill writes what there is, if it is a whole piece.
func (w *answerWriter) spill() {
	if len(w.buf) >= answerChunk {
		w.flush()
	}
}

// flush writes what there is.
func (w *answerWriter) flush() {
	w.write(w.buf)
	if w.buf = w.buf[:0]; cap(w.buf) > 4*answerChunk {
		w.buf = nil
	}
}

func (w *answerWriter) write(p []byte) {
	if !w.begun {
		w.begun, w.start = true, time.Now()
		h := w.x.Header()
		h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = jsonType, noStore, noSniff
	}
	w.size += len(p)
	for len(p) > 0 && w.err == nil {
		piece := p[:min(len(p), answerChunk)]
		w.extend()
		_, w.err = w.x.Write(piece)
		p = p[len(piece):]
	}
}

// extend gives the next write its time.
func (w *answerWriter) extend() {
	now := time.Now()
	if w.deadline.Sub(now) > answerIdle-time.Second {
		return // each call costs HTTP/2 a message
	}
	w.deadline = now.Add(answerIdle)
	if last := w.start.Add(answerTime); last.Before(w.deadline) {
		w.deadline = last
	}
	_ = w.rc.SetWriteDeadline(w.deadline) // where there is none to set, there is no time-out either
}

// end writes the rest.
func (w *answerWriter) end() {
	if !w.begun {
		w.x.answer(http.StatusOK, jsonType, w.buf)
		return
	}
	w.flush()
}
