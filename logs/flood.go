// Package logs keeps the log readable, and the disk from filling up, when the same
// thing happens all the time.
package logs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Bounds of a flood.
const (
	perSecond = 50               // equal lines that are written
	maxKinds  = 256              // of lines that have a bound each; further ones share a bound
	counting  = slog.LevelInfo   // the lowest level that is counted: debug lines are all written
	leftOut   = "lines_left_out" // the attribute
)

// Flood returns a handler that writes, of the lines with the same level and message,
// at most 50 a second to h. The others are counted, and at the end of the second one
// more line says how many there were, and nothing else.
//
// Flush writes what is to be said still; lines may come after it.
func Flood(h slog.Handler) (counted slog.Handler, flush func()) {
	t := &table{h: h, kinds: map[kind]*second{}}
	return &flood{h, t}, t.flush
}

// flood is a handler; those with attributes or groups of their own share its table.
type flood struct {
	h slog.Handler
	t *table
}

func (f *flood) Enabled(ctx context.Context, l slog.Level) bool { return f.h.Enabled(ctx, l) }
func (f *flood) WithAttrs(attrs []slog.Attr) slog.Handler       { return &flood{f.h.WithAttrs(attrs), f.t} }
func (f *flood) WithGroup(name string) slog.Handler             { return &flood{f.h.WithGroup(name), f.t} }

func (f *flood) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= counting && !f.t.may(kind{r.Level, r.Message}) {
		return nil
	}
	return f.h.Handle(ctx, r)
}

// kind is what makes lines equal.
type kind struct {
	level   slog.Level
	message string
}

// second counts the lines of one kind in the second that begins with the first line.
type second struct {
	begun   time.Time
	written int
	leftOut int
}

type table struct {
	h     slog.Handler
	mu    sync.Mutex
	kinds map[kind]*second
	timer *time.Timer // while something is left out
}

// others stands for all kinds past maxKinds.
var others = kind{slog.LevelWarn, "further lines"}

// may reports whether a line of this kind is written; if not it is counted.
func (t *table) may(k kind) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	s := t.kinds[k]
	if s == nil {
		if len(t.kinds) >= maxKinds {
			k = others
			s = t.kinds[k]
		}
		if s == nil {
			s = &second{begun: now}
			t.kinds[k] = s
		}
	}
	if now.Sub(s.begun) >= time.Second {
		t.say(k, s)
		s.begun, s.written = now, 0
	}
	if s.written < perSecond {
		s.written++
		return true
	}
	if s.leftOut++; t.timer == nil {
		t.timer = time.AfterFunc(time.Second, t.over)
	}
	return false
}

// over says what was left out, a second after the first line that was.
func (t *table) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	t.sayAll()
}

func (t *table) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.sayAll()
}

func (t *table) sayAll() {
	for k, s := range t.kinds {
		t.say(k, s)
	}
}

// say is called with mu held, so that lines about floods are no flood.
func (t *table) say(k kind, s *second) {
	if s.leftOut == 0 {
		return
	}
	r := slog.NewRecord(time.Now(), k.level, k.message, 0)
	r.AddAttrs(slog.Int(leftOut, s.leftOut))
	s.leftOut = 0
	if t.h.Enabled(context.Background(), k.level) {
		_ = t.h.Handle(context.Background(), r) // there is nobody to tell
	}
}
