package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"inturn/db/sqlite/file"
)

const (
	watchEvery = 200 * time.Millisecond
	// How long nothing may be settled, beyond the time of the work itself.
	watchPatience = time.Minute
)

// watch shows how many events are accepted and settled, until all that were to be
// sent are settled. It asks the file, so that the server works for its clients
// alone. It returns nil also if for long nothing is settled although everything
// was accepted.
func watch(ctx context.Context, path string, s *sender, work time.Duration, p *progress) error {
	handle, err := file.OpenReadOnly(ctx, path)
	if err != nil {
		return err
	}
	defer handle.Close()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last, lastAt := -1, time.Now()
	sent := s.done
	for {
		settled := 0
		if err := handle.QueryRowContext(ctx, "SELECT count(*) FROM results").Scan(&settled); err != nil {
			return fmt.Errorf("count the results: %w", err)
		}
		now := time.Now()
		p.show(now, int(s.accepted.Load()), settled)
		if settled != last {
			last, lastAt = settled, now
		}
		allSent := sent == nil
		if allSent && (settled >= p.total || now.Sub(lastAt) > watchPatience+2*work) {
			return nil
		}
		select {
		case <-tick.C:
		case <-sent:
			sent = nil
			lastAt = now
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// progress shows how far the demo is: a bar on a terminal, else a line a second.
type progress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil where there is no terminal
	total int
	shown time.Time
}

func newProgress(w io.Writer, total int) *progress {
	p := &progress{w: w, total: total}
	if isTerminal(w) {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetDescription("processed"),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

func (p *progress) show(now time.Time, accepted, settled int) {
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("accepted %d, processed", accepted))
		_ = p.bar.Set(min(settled, p.total)) // a bar that can't be drawn is no reason to stop
		return
	}
	if now.Sub(p.shown) >= time.Second || settled >= p.total {
		fmt.Fprintf(p.w, "accepted %d, processed %d of %d\n", accepted, settled, p.total)
		p.shown = now
	}
}

// end clears the bar, or prints the last line.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
