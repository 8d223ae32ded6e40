package postgres

import (
	"sync"
	"time"
)

// drainRateSeconds is over how many whole seconds the drain rate is taken.
const drainRateSeconds = 10

// drainRate knows how many events are runnable and how fast they are settled.
type drainRate struct {
	mu       sync.Mutex
	runnable int
	second   [drainRateSeconds + 1]int64 // Unix time
	settled  [drainRateSeconds + 1]int
}

func (p *drainRate) note(now time.Time, runnable, settled int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runnable = runnable
	i := int(now.Unix() % int64(len(p.second)))
	if p.second[i] != now.Unix() {
		p.second[i], p.settled[i] = now.Unix(), 0
	}
	p.settled[i] += settled
}

// at leaves out the second that is not over.
func (p *drainRate) at(now time.Time) (runnable int, perSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := 0
	for i, second := range p.second {
		if age := now.Unix() - second; age >= 1 && age <= drainRateSeconds {
			sum += p.settled[i]
		}
	}
	return p.runnable, float64(sum) / drainRateSeconds
}

// DrainRate returns the number of runnable events, counted as for Options.MaxPending, and
// how many a second were settled in the last ten seconds.
func (d *DB) DrainRate() (runnable int, perSecond float64) { return d.drainRate.at(time.Now()) }
