package serve

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"inturn/logs"
)

// logger writes to w. Its level can be changed while the process runs; flush writes
// how much of a flood was left out.
func (c *Config) logger(w io.Writer) (log *slog.Logger, level *slog.LevelVar, flush func()) {
	level = &slog.LevelVar{}
	_ = level.UnmarshalText([]byte(c.LogLevel)) // kong has checked it
	h := logs.JSON(w, level)
	if isTerminal(w) {
		h = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}) // it quotes what can't be seen
	}
	h, flush = logs.Flood(h)
	return slog.New(h), level, flush
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
