package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// meter shows how far a command is: a bar with rate and remaining time on a
// terminal, else a line a second. One goroutine uses it.
type meter struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil where there is no terminal
	what  string
	total int // 0: not known
	begin time.Time
	shown time.Time
	n     int
}

func newMeter(w io.Writer, total int) *meter {
	m := &meter{w: w, what: "answered", total: total, begin: time.Now()}
	m.shown = m.begin
	if isTerminal(w) {
		n := total
		if n == 0 {
			n = -1
		}
		m.bar = progressbar.NewOptions(n,
			progressbar.OptionSetWriter(w),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("events"),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(200*time.Millisecond),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionClearOnFinish(),
		)
	}
	return m
}

// show sets how far the command is. It may be called for each event.
func (m *meter) show(n int) {
	m.n = n
	if m.bar != nil {
		m.bar.Describe(m.what)
		_ = m.bar.Set(n) // a bar that can't be drawn is no reason to stop
		return
	}
	if now := time.Now(); now.Sub(m.shown) >= time.Second {
		m.shown = now
		m.line(now)
	}
}

func (m *meter) line(now time.Time) {
	rate := float64(m.n) / max(now.Sub(m.begin).Seconds(), 1e-3)
	switch {
	case m.total == 0:
		fmt.Fprintf(m.w, "%s %d, %.0f/s\n", m.what, m.n, rate)
	case rate > 0 && m.n < m.total:
		left := time.Duration(float64(m.total-m.n) / rate * float64(time.Second))
		fmt.Fprintf(m.w, "%s %d of %d, %.0f/s, %v left\n", m.what, m.n, m.total, rate, left.Round(time.Second))
	default:
		fmt.Fprintf(m.w, "%s %d of %d, %.0f/s\n", m.what, m.n, m.total, rate)
	}
}

// end clears the bar, or prints the last line.
func (m *meter) end() {
	if m.bar != nil {
		_ = m.bar.Clear()
		return
	}
	m.line(time.Now())
}
