package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// eraseLine moves the cursor to the begin of its line and erases it (ECMA-48, 8.3.41).
const eraseLine = "\r\x1b[K"

// elapsed shows on a terminal, after a second, how long a step takes whose end can't be
// foreseen. end takes the line away; nothing is shown after it.
func elapsed(w io.Writer, what string) (end func()) {
	if !isTerminal(w) {
		return func() {}
	}
	return showElapsed(w, what, time.Second)
}

func showElapsed(w io.Writer, what string, every time.Duration) (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		begin, shown := time.Now(), false
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				shown = true
				fmt.Fprintf(w, "%s%s: %v", eraseLine, what, time.Since(begin).Round(time.Second))
			case <-stop:
				if shown {
					fmt.Fprint(w, eraseLine)
				}
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(stop); <-stopped })
}
