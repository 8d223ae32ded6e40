package page

import (
	"context"
	"sync"
	"time"
)

// Counters are how many events were accepted, done and set aside since the process began.
type Counters struct{ Accepted, Done, Dead float64 }

const (
	historyEvery = 10 * time.Second
	historySize  = 360 // points: an hour
)

// history keeps the rates of the last hour.
type history struct {
	counters func() Counters

	mu     sync.Mutex
	points []Counters // a second, the oldest first
}

// Run keeps the plots until ctx ends.
func (p *Page) Run(ctx context.Context) {
	h := p.history
	if h.counters == nil {
		return
	}
	tick := time.NewTicker(historyEvery)
	defer tick.Stop()
	last, at := h.counters(), p.o.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, is := p.o.Now(), h.counters()
		if seconds := now.Sub(at).Seconds(); seconds > 0 {
			h.add(Counters{(is.Accepted - last.Accepted) / seconds, (is.Done - last.Done) / seconds, (is.Dead - last.Dead) / seconds})
		}
		last, at = is, now
	}
}

func (h *history) add(point Counters) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.points) == historySize {
		h.points = append(h.points[:0], h.points[1:]...)
	}
	h.points = append(h.points, point)
}

// plots returns the last hour.
func (h *history) plots() []plot {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.points) < 2 {
		return nil
	}
	of := func(name string, value func(Counters) float64) plot {
		values := make([]float64, len(h.points))
		for i, p := range h.points {
			values[i] = value(p)
		}
		return line(name+" a second, the last "+(time.Duration(len(values))*historyEvery).String(), values)
	}
	return []plot{
		of("Accepted", func(c Counters) float64 { return c.Accepted }),
		of("Done", func(c Counters) float64 { return c.Done }),
		of("Dead", func(c Counters) float64 { return c.Dead }),
	}
}
