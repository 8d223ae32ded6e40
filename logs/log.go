package logs

import (
	"errors"
	"io"
	"log/slog"
	"time"
)

var errLate = errors.New("the write takes too long")

// closeTime bounds how long the last lines may take.
const closeTime = time.Second

// Log is a log that never keeps waiting what writes to it: where nothing reads it, or it
// can't be written, lines are lost and counted, and one line says how many once lines can
// be written again.
type Log struct {
	*slog.Logger
	queue *queue
	flood func()
}

// New returns a log that writes to w: for people where w is a terminal, else JSON, with
// bounds on equal lines (Flood). Close it.
func New(w io.Writer, level slog.Leveler, terminal bool) *Log {
	l := &Log{}
	l.queue = newQueue(w, func(lines uint64) { l.Warn("lines of the log were lost", "lines", lines) })
	h := JSON(l.queue, level)
	if terminal {
		h = slog.NewTextHandler(l.queue, &slog.HandlerOptions{Level: level}) // it quotes what can't be seen
	}
	h, l.flood = Flood(h)
	l.Logger = slog.New(h)
	return l
}

// Lost returns how many lines were lost because nothing read the log in time, and how many
// because of failed writes.
func (l *Log) Lost() (full, failed uint64) { return l.queue.lost() }

// Warning says for people why lines are lost now; "" if none are.
func (l *Log) Warning() string { return l.queue.trouble() }

// Flush writes what is queued, for at most so long.
func (l *Log) Flush(within time.Duration) { l.queue.flush(within) }

// Close writes the last lines, for at most a second. Lines that come after it are lost.
func (l *Log) Close() {
	l.flood()
	l.Flush(closeTime)
	close(l.queue.quit)
}

// Within returns a writer to w whose Write returns after d at the latest, where w would
// keep it waiting for longer. The bytes may be written later.
func Within(w io.Writer, d time.Duration) io.Writer { return within{w, d} }

type within struct {
	w io.Writer
	d time.Duration
}

func (w within) Write(p []byte) (int, error) {
	text := append([]byte(nil), p...) // the caller may change p once Write has returned
	ended := make(chan struct{})
	var n int
	var err error
	go func() {
		n, err = w.w.Write(text)
		close(ended)
	}()
	late := time.NewTimer(w.d)
	defer late.Stop()
	select {
	case <-ended:
		return n, err
	case <-late.C:
		return 0, errLate
	}
}
