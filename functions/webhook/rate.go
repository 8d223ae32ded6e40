package webhook

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxTurns bounds the accounts that have a turn to wait for. Further ones come back
	// after maxTurnWait and ask again.
	maxTurns = 1 << 16
	// maxTurnWait bounds one wait: a rate that is raised counts from then on.
	maxTurnWait = time.Minute
	// lateTurn is how late an account may come for its turn while others need the room.
	lateTurn = 10 * time.Minute
)

// limiter spaces the calls of a type. An account that must wait has a turn, which it keeps
// while it waits: so the calls go in the order in which they were wanted, and each account
// comes back once.
type limiter struct {
	calls float64
	rate  *rate.Limiter

	mu    sync.Mutex
	turns map[string]time.Time // by client_id
	swept time.Time            // when late ones were looked for
}

// newLimiter returns nil for no bound.
func newLimiter(calls float64) *limiter {
	if calls <= 0 {
		return nil
	}
	// A burst of a fiftieth of a second makes up for timers that are late.
	return &limiter{calls: calls, rate: rate.NewLimiter(rate.Limit(calls), max(1, int(calls/50))), turns: map[string]time.Time{}}
}

func (l *limiter) sameRate(calls float64) bool { return l != nil && l.calls == calls }

// wait returns 0 if a call of clientID may go now, else how long the account is to wait
// before it asks again.
func (l *limiter) wait(clientID string, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	turn, waits := l.turns[clientID]
	if !waits {
		if len(l.turns) >= maxTurns && !l.dropLate(now) {
			return maxTurnWait
		}
		turn = now.Add(l.rate.ReserveN(now, 1).DelayFrom(now))
	}
	if turn.After(now) {
		l.turns[clientID] = turn
		return min(turn.Sub(now), maxTurnWait)
	}
	delete(l.turns, clientID)
	return 0
}

// dropLate takes, once a minute at most, the turns of accounts that have not come for
// theirs: something else holds such an account. It reports whether there was one.
func (l *limiter) dropLate(now time.Time) bool {
	if now.Sub(l.swept) < maxTurnWait {
		return false
	}
	l.swept = now
	before := len(l.turns)
	for id, turn := range l.turns {
		if now.Sub(turn) > lateTurn {
			delete(l.turns, id)
		}
	}
	return len(l.turns) < before
}
