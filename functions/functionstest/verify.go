package functionstest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"inturn/db"
)

// checkInvariants asks, while the engine still runs, what must hold at every commit.
func (e *Engine) checkInvariants() {
	e.t.Helper()
	dialect := db.SQLite
	if d, ok := e.db.(interface{ Dialect() db.Dialect }); ok {
		dialect = d.Dialect()
	}
	for _, inv := range e.set.InvariantsOn(dialect) {
		for _, row := range e.Query(inv.Query) {
			e.t.Errorf("functionstest: %s: %v", inv.Kind, row[0])
		}
	}
}

// checkDatabase asks the rest of `inturn check`, which reads a database that nobody has open.
func (e *Engine) checkDatabase() {
	e.t.Helper()
	violations, err := e.database.Check(context.Background())
	if err != nil {
		e.t.Errorf("functionstest: check: %v", err)
	}
	for _, v := range violations {
		e.t.Errorf("functionstest: check: %s: %s", v.Kind, v.Detail)
	}
}

var engines atomic.Int64

// newLabel names an engine. A goroutine inherits the labels of the one that starts
// it, so the goroutines of an engine and of its functions can be distinguished from
// all others, also while tests run in parallel.
func newLabel(t testing.TB) string {
	return fmt.Sprintf("%s %d", t.Name(), engines.Add(1))
}

const labelKey = "functionstest"

func (e *Engine) labelled(f func()) {
	pprof.Do(context.Background(), pprof.Labels(labelKey, e.label), func(context.Context) { f() })
}

// checkGoroutines fails the test if a goroutine of the engine is left. One that was
// told to end may need a moment, which is why it looks more than once.
func (e *Engine) checkGoroutines() {
	e.t.Helper()
	var left []string
	for wait := time.Millisecond; wait < patience/15; wait *= 2 {
		if left = e.goroutines(); len(left) == 0 {
			return
		}
		time.Sleep(wait)
	}
	e.t.Errorf("functionstest: left over when the engine had stopped:\n%s", strings.Join(left, "\n\n"))
}

// goroutines returns the stacks that carry the engine's label.
func (e *Engine) goroutines() []string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []string{err.Error()}
	}
	var own []string
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(stack, fmt.Sprintf("%q:%q", labelKey, e.label)) {
			own = append(own, stack)
		}
	}
	return own
}
