package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reader is a writer whose other end reads nothing while it is stopped, and breaks off
// while it has an error.
type reader struct {
	mu      sync.Mutex
	stopped chan struct{} // nil: reads
	err     error
	read    bytes.Buffer
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	stopped := r.stopped
	r.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	return r.read.Write(p)
}

func (r *reader) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read.String()
}

func TestALogThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stopped: make(chan struct{})}
		l := New(r, slog.LevelDebug, false)
		line := strings.Repeat("x", 1000)
		for i := range 1000 { // four times what is queued
			l.Debug(line, "i", i)
		}
		full, failed := l.Lost()
		if full < 500 || full > 900 || failed != 0 {
			t.Errorf("%d lines lost for want of room, %d by errors", full, failed)
		}
		if got := l.Warning(); got != "nothing reads the log" {
			t.Errorf("warning %q", got)
		}
		begin := time.Now()
		if l.Flush(time.Minute); time.Since(begin) != time.Minute {
			t.Errorf("Flush took %v", time.Since(begin))
		}
		r.mu.Lock()
		close(r.stopped)
		r.stopped = nil
		r.mu.Unlock()
		l.Flush(time.Minute)
		if got := l.Warning(); got != "" {
			t.Errorf("warning %q when it is read again", got)
		}
		l.Close()
		want := fmt.Sprintf(`"level":"WARN","msg":"lines of the log were lost","lines":%d}`, full)
		if text := r.text(); strings.Count(text, want) != 1 || strings.Count(text, line)+int(full) != 1000 {
			t.Errorf("the log does not say what was lost: …%s", text[max(0, len(text)-300):])
		}
	})
}

func TestALogThatBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{err: errors.New("broken pipe")}
		l := New(r, slog.LevelInfo, false)
		for range 3 {
			l.Info("x")
			l.Flush(time.Minute)
		}
		if full, failed := l.Lost(); full != 0 || failed != 3 {
			t.Errorf("%d lines lost for want of room, %d by errors", full, failed)
		}
		if got := l.Warning(); got != "the log can't be written: broken pipe" {
			t.Errorf("warning %q", got)
		}
		r.mu.Lock()
		r.err = nil
		r.mu.Unlock()
		l.Info("y")
		l.Close()
		if text := r.text(); !strings.Contains(text, `"msg":"y"`) || !strings.Contains(text, `"msg":"lines of the log were lost","lines":3`) || l.Warning() != "" {
			t.Errorf("after it can be written again: %s%s", text, l.Warning())
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stopped: make(chan struct{})}
		l := New(r, slog.LevelInfo, false)
		l.Info("x")
		begin := time.Now()
		if l.Close(); time.Since(begin) != closeTime {
			t.Errorf("Close took %v", time.Since(begin))
		}
		close(r.stopped)
	})
}

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stopped: make(chan struct{})}
		w := Within(r, time.Second)
		begin := time.Now()
		if _, err := io.WriteString(w, "a"); err != errLate || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		close(r.stopped)
		synctest.Wait()
		if n, err := io.WriteString(w, "bc"); n != 2 || err != nil || r.text() != "abc" {
			t.Errorf("%d, %v: %q", n, err, r.text())
		}
	})
}
