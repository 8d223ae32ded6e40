package serve

import (
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"

	"inturn/logs"
)

// openLog opens the log of the server, whose level can be changed while the process runs.
func (s *Server) openLog(w io.Writer) {
	s.level = &slog.LevelVar{}
	_ = s.level.UnmarshalText([]byte(s.config.LogLevel)) // kong has checked it
	s.lines = logs.New(w, s.level, isTerminal(w))
	s.log = s.lines.Logger
	s.onClose(s.lines.Close)
}

// warning says for people what is wrong while events are taken; "" for nothing.
func (s *Server) warning() string {
	var all []string
	for _, w := range []string{s.certs.warning(), s.lines.Warning(), s.store.Warning()} {
		if w != "" {
			all = append(all, w)
		}
	}
	return strings.Join(all, "; ")
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
