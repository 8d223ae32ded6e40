// Package drain knows how fast a backlog is worked off.
package drain

import (
	"sync"
	"time"
)

// seconds is over how many whole seconds the rate is taken.
const seconds = 10

// Rate knows how many events are runnable and how fast they are settled. The zero Rate is
// ready to use, and safe for concurrent use.
type Rate struct {
	mu       sync.Mutex
	runnable int
	second   [seconds + 1]int64 // Unix time
	settled  [seconds + 1]int
}

// Note says how many events are runnable now, and how many were settled since it was last called.
func (p *Rate) Note(now time.Time, runnable, settled int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runnable = runnable
	i := int(now.Unix() % int64(len(p.second)))
	if p.second[i] != now.Unix() {
		p.second[i], p.settled[i] = now.Unix(), 0
	}
	p.settled[i] += settled
}

// At returns the number of runnable events, and how many a second were settled in the last
// ten seconds; it leaves out the second that is not over.
func (p *Rate) At(now time.Time) (runnable int, perSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := 0
	for i, second := range p.second {
		if age := now.Unix() - second; age >= 1 && age <= seconds {
			sum += p.settled[i]
		}
	}
	return p.runnable, float64(sum) / seconds
}
