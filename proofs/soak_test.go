package proofs

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

// TestSoak runs as long as INTURN_SOAK says (30m) at half of what the machine can do,
// with restarts, crashes and slow readers, and wants memory, files and latency to stay
// flat. The samples are written to the file that INTURN_SOAK_CSV names.
func TestSoak(t *testing.T) {
	if os.Getenv("INTURN_SOAK") == "" {
		t.Skip("it runs for as long as is asked: INTURN_SOAK=30m")
	}
	lasts, err := time.ParseDuration(os.Getenv("INTURN_SOAK"))
	if err != nil || lasts < time.Minute {
		t.Fatalf("INTURN_SOAK=%q: want a duration of at least 1m", os.Getenv("INTURN_SOAK"))
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("/proc is needed")
	}
	dir := t.TempDir()
	server := start(t, dir)
	server.ready()
	c := dial(t, dir)
	f := newFleet(t, 6, c, 56, 8)
	for _, s := range f.senders {
		s.sample = true
	}

	// As fast as it goes, to know what half of it is.
	stop := f.run(server.ready(), false)
	const full = 10 * time.Second
	time.Sleep(full)
	stop()
	rate := float64(f.answered.Load()) / full.Seconds()
	f.pause = time.Duration(float64(len(f.senders)) / (rate / 2) * float64(time.Second))
	f.percentiles()
	t.Logf("%.0f events/s at full speed; half of it for %v", rate, lasts)
	drained(t, dir)

	s := &soak{t: t, dir: dir, began: time.Now()}
	every := max(lasts/120, time.Second)
	restartEvery := lasts / 6
	nextRestart, crash := s.began.Add(restartEvery), false
	stop = f.run(server.ready(), false)
	stopReaders := s.slowReaders(c, f)
	for time.Since(s.began) < lasts {
		time.Sleep(every)
		s.take(server, f)
		if time.Now().Before(nextRestart) {
			continue
		}
		nextRestart = nextRestart.Add(restartEvery)
		if crash = !crash; crash {
			server.crash()
		} else {
			server.stops()
		}
		server = start(t, dir)
		url := server.ready()
		f.url.Store(&url)
	}
	stopReaders()
	stop()
	drained(t, dir)
	server.stops()
	s.write(os.Getenv("INTURN_SOAK_CSV"))
	s.flat()
	f.judge(t, dbFile(dir), true)
}

// sample is the server at one moment.
type sample struct {
	at                     time.Duration
	answered               int64 // in all
	rss, threads, files    int64 // KiB, and numbers
	wal, file              int64 // bytes
	half, ninetyNine, most time.Duration
}

type soak struct {
	t       *testing.T
	dir     string
	began   time.Time
	samples []sample
}

func (s *soak) take(server *process, f *fleet) {
	p := f.percentiles(0.5, 0.99, 1)
	one := sample{at: time.Since(s.began), answered: f.answered.Load(), half: p[0], ninetyNine: p[1], most: p[2]}
	proc := fmt.Sprintf("/proc/%d/", server.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		s.t.Fatal(err)
	}
	one.rss, one.threads = number(string(status), "VmRSS:"), number(string(status), "Threads:")
	if fds, err := os.ReadDir(proc + "fd"); err == nil {
		one.files = int64(len(fds))
	}
	one.wal, one.file = size(dbFile(s.dir)+"-wal"), size(dbFile(s.dir))
	s.samples = append(s.samples, one)
}

func number(status, field string) int64 {
	_, rest, _ := strings.Cut(status, field)
	n, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return n
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// slowReaders asks for pages of events and takes them a little at a time, and keeps
// read transactions open for a while, which keeps the WAL from being reset.
func (s *soak) slowReaders(c *client, f *fleet) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	loop := func(one func()) {
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				one()
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		}()
	}
	loop(func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, *f.url.Load()+"/v1/events?limit=1000", nil)
		if err != nil {
			s.t.Error(err)
			return
		}
		resp, err := c.http.Do(r)
		if err != nil {
			return // a restart
		}
		defer resp.Body.Close()
		for {
			_, err := io.CopyN(io.Discard, resp.Body, 4<<10)
			if err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	loop(func() {
		file, err := db.OpenReadOnly(ctx, dbFile(s.dir))
		if err != nil {
			return
		}
		defer file.Close()
		rows, err := file.QueryContext(ctx, "SELECT seq FROM outbox")
		if err != nil {
			return
		}
		defer rows.Close()
		rows.Next()
		select {
		case <-ctx.Done():
		case <-time.After(3 * time.Second):
		}
	})
	return func() {
		cancel()
		<-done
		<-done
	}
}

func (s *soak) write(path string) {
	if path == "" {
		path = filepath.Join(os.TempDir(), fmt.Sprintf("inturn-soak-%d.csv", os.Getpid()))
	}
	out, err := os.Create(path)
	if err != nil {
		s.t.Error(err)
		return
	}
	w := csv.NewWriter(out)
	w.Write([]string{"seconds", "answered", "rss_kib", "threads", "open_files", "wal_bytes", "file_bytes", "p50_us", "p99_us", "max_us"})
	for _, one := range s.samples {
		var row []string
		for _, n := range []int64{int64(one.at.Seconds()), one.answered, one.rss, one.threads, one.files, one.wal, one.file,
			one.half.Microseconds(), one.ninetyNine.Microseconds(), one.most.Microseconds()} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		w.Write(row)
	}
	w.Flush()
	if err := w.Error(); err != nil {
		s.t.Error(err)
	}
	if err := out.Close(); err != nil {
		s.t.Error(err)
	}
	s.t.Logf("samples: %s", path)
}

// flat compares the second quarter of the time with the last one. The bounds are wide:
// what grows without end passes them in time, what only wavers doesn't.
func (s *soak) flat() {
	n := len(s.samples)
	early, late := s.samples[n/4:n/2], s.samples[3*n/4:]
	for _, c := range []struct {
		name  string
		of    func(sample) float64
		times float64
		plus  float64
	}{
		{"memory, KiB", func(one sample) float64 { return float64(one.rss) }, 1.5, 64 << 10},
		{"threads", func(one sample) float64 { return float64(one.threads) }, 1.5, 16},
		{"open files", func(one sample) float64 { return float64(one.files) }, 1.5, 64},
		{"WAL, bytes", func(one sample) float64 { return float64(one.wal) }, 1.5, 64 << 20},
		{"median, µs", func(one sample) float64 { return float64(one.half.Microseconds()) }, 3, 50e3},
		{"99th percentile, µs", func(one sample) float64 { return float64(one.ninetyNine.Microseconds()) }, 3, 500e3},
	} {
		was, is := mean(early, c.of), mean(late, c.of)
		s.t.Logf("%-20s %12.0f in the second quarter, %12.0f in the last", c.name, was, is)
		if is > was*c.times+c.plus {
			s.t.Errorf("%s: %.0f in the last quarter, %.0f in the second", c.name, is, was)
		}
	}
	was, is := growth(early), growth(late)
	s.t.Logf("%-20s %12.0f in the second quarter, %12.0f in the last", "file, bytes an event", was, is)
	if is > 1.5*was+500 {
		s.t.Errorf("the file grows by %.0f bytes an event, and by %.0f in the second quarter", is, was)
	}
}

func mean(of []sample, value func(sample) float64) (sum float64) {
	for _, one := range of {
		sum += value(one) / float64(len(of))
	}
	return sum
}

// growth is the file's, in bytes an event.
func growth(of []sample) float64 {
	first, last := of[0], of[len(of)-1]
	return float64(last.file-first.file) / float64(max(last.answered-first.answered, 1))
}
