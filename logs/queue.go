package logs

import (
	"io"
	"sync"
	"time"
)

// maxQueued bounds the lines, in bytes, that wait to be written.
const maxQueued = 256 << 10

// queue is a writer of lines that does not wait for the writer behind it. A goroutine
// writes what is queued. A line for which there is no room, or which can't be written, is
// lost and counted.
type queue struct {
	w      io.Writer
	report func(lines uint64) // is called once lines can be written again after some were lost

	wake chan struct{} // has room for one
	quit chan struct{}

	mu      sync.Mutex
	pending []byte
	lines   uint64 // in pending
	writing bool
	waiting []chan struct{} // closed when nothing is pending or being written
	full    uint64          // lines lost for want of room
	failed  uint64          // lines lost by errors of w
	told    uint64          // of both, those that report has had
	err     error           // of the last write
}

func newQueue(w io.Writer, report func(lines uint64)) *queue {
	q := &queue{w: w, report: report, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	go q.run()
	return q
}

// Write queues a line. It returns no error.
func (q *queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if len(q.pending)+len(line) > maxQueued {
		q.full++
	} else {
		q.pending = append(q.pending, line...)
		q.lines++
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

func (q *queue) run() {
	var spare []byte
	for {
		select {
		case <-q.wake:
		case <-q.quit:
			return
		}
		for {
			text, lines := q.take(spare)
			if lines == 0 {
				break
			}
			_, err := q.w.Write(text)
			if lost := q.wrote(lines, err); lost > 0 {
				q.report(lost)
			}
			spare = text[:0]
		}
	}
}

// take returns the pending lines and leaves an empty buffer in their place. If there are
// none, it wakes every flush that waits.
func (q *queue) take(empty []byte) (text []byte, lines uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lines == 0 {
		for _, c := range q.waiting {
			close(c)
		}
		q.waiting = nil
		return nil, 0
	}
	text, lines = q.pending, q.lines
	q.pending, q.lines, q.writing = empty, 0, true
	return text, lines
}

// wrote counts the outcome of a write. It returns how many lines are lost that report has
// not had, once a write succeeds.
func (q *queue) wrote(lines uint64, err error) (lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing, q.err = false, err
	if err != nil {
		q.failed += lines
		return 0
	}
	lost = q.full + q.failed - q.told
	q.told += lost
	return lost
}

// flush returns when everything is written or given up, or after within at the latest.
func (q *queue) flush(within time.Duration) {
	q.mu.Lock()
	if q.lines == 0 && !q.writing {
		q.mu.Unlock()
		return
	}
	written := make(chan struct{})
	q.waiting = append(q.waiting, written)
	q.mu.Unlock()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
	}
}

func (q *queue) lost() (full, failed uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full, q.failed
}

// trouble returns why lines are lost now; "" if none are.
func (q *queue) trouble() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return "the log can't be written: " + q.err.Error()
	case len(q.pending) > maxQueued/2 && q.writing:
		return "nothing reads the log"
	}
	return ""
}
