package proofs

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

// TestSoak runs as long as INTURN_SOAK says (30m) at half of what the machine can do,
// with slow readers, and in the first half with restarts and crashes. The process of the
// second half must show no growth: in memory, goroutines, open files, WAL and latency,
// nor of the file for each event. The whole time is drawn; the samples are written to the
// file that INTURN_SOAK_CSV names.
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
	t.Logf("%.0f events/s at full speed; about half of it for %v", rate, lasts)
	drained(t, dir)

	s := &soak{t: t, dir: dir, began: time.Now(), file: size(dbFile(dir))}
	every := max(lasts/120, time.Second)
	const restarts = 6
	restarted := 0
	stop = f.run(server.ready(), false)
	stopReaders := s.slowReaders(c, f)
	for time.Since(s.began) < lasts {
		time.Sleep(every)
		s.take(server, c, f)
		if restarted == restarts || time.Since(s.began) < time.Duration(1+restarted)*lasts/(2*restarts) {
			continue
		}
		if restarted++; restarted%2 == 1 {
			server.crash()
		} else {
			server.stops()
		}
		server = start(t, dir)
		url := server.ready()
		f.url.Store(&url)
	}
	stopReaders()
	t.Logf("%.0f events/s in fact", float64(f.answered.Load())/time.Since(s.began).Seconds())
	stop()
	drained(t, dir)
	server.stops()
	s.write(os.Getenv("INTURN_SOAK_CSV"))
	s.flat()
	f.judge(t, dbFile(dir), true)
}

// sample is the server at one moment.
type sample struct {
	at       time.Duration
	answered int64 // in all
	file     int64 // bytes more than in the beginning
	values   [6]float64
}

// measures are what must stay flat. The bounds are wide: what grows without end passes
// them in time, what only wavers doesn't.
var measures = [len(sample{}.values)]struct {
	name, column string
	times, plus  float64
}{
	{"memory, KiB", "rss_kib", 1.5, 64 << 10},
	{"goroutines", "goroutines", 1.5, 200},
	{"open files", "open_files", 1.5, 64},
	{"WAL, bytes", "wal_bytes", 1.5, 64 << 20},
	{"median, µs", "p50_us", 3, 50e3},
	{"99th percentile, µs", "p99_us", 3, 500e3},
}

type soak struct {
	t       *testing.T
	dir     string
	began   time.Time
	file    int64 // bytes, in the beginning
	samples []sample
}

func (s *soak) take(server *process, c *client, f *fleet) {
	p := f.percentiles(0.5, 0.99)
	proc := fmt.Sprintf("/proc/%d/", server.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		s.t.Fatal(err)
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := c.http.Get(server.admin() + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.samples = append(s.samples, sample{
		at: time.Since(s.began), answered: f.answered.Load(), file: size(dbFile(s.dir)) - s.file,
		values: [...]float64{
			number(s.t, string(status), "\nVmRSS:"), number(s.t, string(metrics), "\ngo_goroutines"), float64(len(files)),
			float64(size(dbFile(s.dir) + "-wal")), float64(p[0].Microseconds()), float64(p[1].Microseconds()),
		},
	})
}

// number is what stands behind name in a text.
func number(t testing.TB, text, name string) float64 {
	t.Helper()
	_, rest, _ := strings.Cut(text, name)
	n, err := strconv.ParseFloat(strings.Fields(rest + " none")[0], 64)
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
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
		file, err := file.OpenReadOnly(ctx, dbFile(s.dir))
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
	header := []string{"seconds", "answered", "file_bytes"}
	for _, m := range measures {
		header = append(header, m.column)
	}
	w.Write(header)
	for _, one := range s.samples {
		row := []string{fmt.Sprintf("%.0f", one.at.Seconds()), fmt.Sprint(one.answered), fmt.Sprint(one.file)}
		for _, v := range one.values {
			row = append(row, fmt.Sprintf("%.0f", v))
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

// flat draws each measure and compares the second quarter of the last process with its
// last one. (What a process piles up is gone with it, so its own time is what counts.)
func (s *soak) flat() {
	last := s.samples[len(s.samples)/2:]
	n := len(last)
	early, late := last[n/4:n/2], last[3*n/4:]
	for i, m := range measures {
		value := func(one sample) float64 { return one.values[i] }
		was, is := mean(early, value), mean(late, value)
		s.compare(m.name, was, is, value)
		if is > was*m.times+m.plus {
			s.t.Errorf("%s: %.0f early in the last process, %.0f late", m.name, was, is)
		}
	}
	was, is := growth(early), growth(late)
	s.compare("file, bytes an event", was, is, func(one sample) float64 { return float64(one.file) / float64(max(one.answered, 1)) })
	if is > 1.5*was+500 {
		s.t.Errorf("the file grows by %.0f bytes an event late in the last process, and by %.0f early", is, was)
	}
}

// compare logs both, and the whole time as a row of bars, each as high as its mean is
// to the greatest.
func (s *soak) compare(name string, was, is float64, value func(sample) float64) {
	const columns = 60
	var means []float64
	for i := range columns {
		if of := s.samples[i*len(s.samples)/columns : (i+1)*len(s.samples)/columns]; len(of) > 0 {
			means = append(means, mean(of, value))
		}
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	top := slices.Max(means)
	var plot strings.Builder
	for _, m := range means {
		plot.WriteRune(bars[int(m/max(top, 1)*float64(len(bars)-1)+0.5)])
	}
	s.t.Logf("%-20s %12.0f early in the last process, %12.0f late; █ is %.0f: %s", name, was, is, top, plot.String())
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
