package api

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"sync"
	"time"
)

// errorLog brings what net/http has to say to slog. Failed handshakes are what
// every scanner causes, so they are for debug; the rest is warnings, at most one a
// second, with the number of those left out.
func errorLog(l *slog.Logger) *log.Logger {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return log.New(&errorWriter{log: l, now: time.Now}, "", 0)
}

type errorWriter struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	last    time.Time // of the last warning
	leftOut int
}

func (w *errorWriter) Write(line []byte) (int, error) {
	text := cut(string(bytes.TrimSpace(line)), 1000)
	if bytes.Contains(line, []byte("TLS handshake error")) {
		w.log.Debug("http server", "said", text)
		return len(line), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if now.Sub(w.last) < time.Second {
		w.leftOut++
		return len(line), nil
	}
	w.log.LogAttrs(context.Background(), slog.LevelWarn, "http server", slog.String("said", text), slog.Int("left_out", w.leftOut))
	w.last, w.leftOut = now, 0
	return len(line), nil
}
