package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// written is a log and how often each message is in it.
type written struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

// take returns how many lines of each message were written since the last take, and
// how many lines they say were left out.
func (w *written) take(t *testing.T) (lines, left map[string]int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, left = map[string]int{}, map[string]int{}
	for d := json.NewDecoder(&w.buf); ; {
		var line struct {
			Msg, Level string
			Left       int `json:"lines_left_out"`
		}
		if err := d.Decode(&line); err == io.EOF {
			return lines, left
		} else if err != nil {
			t.Fatal(err)
		}
		if line.Left > 0 {
			left[line.Level+" "+line.Msg] += line.Left
		} else {
			lines[line.Level+" "+line.Msg]++
		}
	}
}

func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &written{}
		h, flush := Flood(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		log := slog.New(h)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for n := range 1000 {
					log.Error("flood", "n", n)
					log.With("who", n).Info("flood")
					log.Debug("flood")
				}
			})
		}
		all.Wait()
		log.Warn("alone")
		lines, left := out.take(t)
		if want := map[string]int{"ERROR flood": 50, "INFO flood": 50, "DEBUG flood": 4000, "WARN alone": 1}; fmt.Sprint(lines) != fmt.Sprint(want) || len(left) != 0 {
			t.Errorf("written %v, left out %v, want %v", lines, left, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		lines, left = out.take(t)
		if want := map[string]int{"ERROR flood": 3950, "INFO flood": 3950}; len(lines) != 0 || fmt.Sprint(left) != fmt.Sprint(want) {
			t.Errorf("after a second: written %v, left out %v, want %v", lines, left, want)
		}
		log.Error("flood")
		time.Sleep(time.Hour)
		if lines, left = out.take(t); lines["ERROR flood"] != 1 || len(left) != 0 {
			t.Errorf("afterwards: written %v, left out %v", lines, left)
		}

		for range 60 {
			log.Info("end")
		}
		flush()
		if lines, left = out.take(t); lines["INFO end"] != 50 || left["INFO end"] != 10 {
			t.Errorf("at the end: written %v, left out %v", lines, left)
		}
	})
}

// What there are too many kinds of shares one bound, and no memory grows.
func TestFloodOfKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &written{}
		h, flush := Flood(slog.NewJSONHandler(out, nil))
		for n := range 100_000 {
			slog.New(h).Info(fmt.Sprint("kind ", n))
		}
		flush()
		lines, left := out.take(t)
		if len(lines) > maxKinds+perSecond || left["WARN further lines"] != 100_000-len(lines) {
			t.Errorf("%d kinds were written, left out %v", len(lines), left)
		}
		if n := len(h.(*flood).t.kinds); n > maxKinds+1 {
			t.Errorf("%d kinds are remembered", n)
		}
	})
}

func TestFloodAllocatesNothing(t *testing.T) {
	h, _ := Flood(slog.NewJSONHandler(io.Discard, nil))
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "flood", 0)
	if n := testing.AllocsPerRun(1000, func() { _ = h.Handle(t.Context(), r) }); n > 0.2 { // those that are written
		t.Errorf("%v allocations a line that is left out", n)
	}
	h.(*flood).t.flush()
}
