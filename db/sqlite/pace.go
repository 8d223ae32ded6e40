package sqlite

import (
	"sync"
	"time"
)

// paceSeconds is over how many whole seconds the pace is taken.
const paceSeconds = 10

// pace knows how many events are runnable and how fast they are settled.
type pace struct {
	mu       sync.Mutex
	runnable int
	second   [paceSeconds + 1]int64 // Unix time
	settled  [paceSeconds + 1]int
}

func (p *pace) note(now time.Time, runnable, settled int) {
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
func (p *pace) at(now time.Time) (runnable int, perSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := 0
	for i, second := range p.second {
		if age := now.Unix() - second; age >= 1 && age <= paceSeconds {
			sum += p.settled[i]
		}
	}
	return p.runnable, float64(sum) / paceSeconds
}

// DrainRate returns how many events are runnable, as Options.MaxPending counts them, and
// how many a second were settled in the last ten seconds.
func (d *DB) DrainRate() (runnable int, perSecond float64) { return d.pace.at(time.Now()) }
