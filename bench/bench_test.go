package main

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Rows that are fewer than the answers, or more than can have been under way, are no
// measurement.
func TestRowsAreComparedWithAnswers(t *testing.T) {
	l, a := load{connections: 4, batch: 10}, answers{Requests: 101, Refused: 1}
	for rows, sound := range map[int64]bool{999: false, 1000: true, 1040: true, 1041: false} {
		if err := compare(rows, a, l); (err == nil) != sound {
			t.Errorf("%d rows for 100 answers to batches of 10: %v", rows, err)
		}
	}
}

func TestReadAnswers(t *testing.T) {
	const text = "Running 1s test\n  3 requests in 1.00s\n\n" + `{"requests":3,"micros":2000000,"refused":1,"broken":0,"p50":7,"p99":9}` + "\n"
	a, err := readAnswers(text)
	if err != nil || a.OK() != 2 || a.Rate() != 1 {
		t.Errorf("%+v %v", a, err)
	}
	for _, bad := range []string{"", "Running\n", "\n{\"requests\":1}\n", strings.Replace(text, `"refused":1`, `"refused":3`, 1)} {
		if a, err := readAnswers(bad); err == nil {
			t.Errorf("%q gave %+v", bad, a)
		}
	}
}

func TestMetric(t *testing.T) {
	const text = `BenchmarkRawAppend/1000-2 	       1	  18160318 ns/op	       182.4 rows/s
BenchmarkRawAppend/1000-2 	   30000	     48332 ns/op	     1.5e+06 rows/s
`
	if v, err := metric(text, 30000, "rows/s"); v != 1.5e6 || err != nil {
		t.Errorf("%v %v", v, err)
	}
	if v, err := metric(text, 30000, "events/s"); err == nil {
		t.Errorf("events/s gave %v", v)
	}
}

// The meter sees each frame once, also where the WAL starts from its beginning.
func TestWALMeter(t *testing.T) {
	header := func(changes, frames, salt uint32) walIndex {
		b := make([]byte, 48)
		b[12] = 1
		binary.NativeEndian.PutUint32(b[8:], changes)
		binary.NativeEndian.PutUint16(b[14:], 4096)
		binary.NativeEndian.PutUint32(b[16:], frames)
		binary.NativeEndian.PutUint32(b[32:], salt)
		x, err := readWALIndex(b)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	var m walMeter
	for _, x := range []walIndex{header(math.MaxUint32, 100, 7), header(0, 103, 7), header(1, 110, 7), header(2, 4, 8)} {
		m.add(x)
	}
	if m.Bytes != 14*4120 || m.Commits != 3 {
		t.Errorf("%d bytes in %d commits, want 14 frames in 3", m.Bytes, m.Commits)
	}
	if _, err := readWALIndex(make([]byte, 48)); err == nil {
		t.Error("an index that was never written was read")
	}
}

// On a real WAL: each commit counts, and each byte but those of the WAL's own header.
func TestMeterWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	pool, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pool.SetMaxOpenConns(1)
	exec := func(text string) {
		if _, err := pool.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE t (x TEXT)")
	exec("PRAGMA wal_checkpoint(TRUNCATE)")
	exec("INSERT INTO t VALUES ('the first commit after it starts the WAL again')")
	begin, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	stop, err := meterWAL(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if i == 10 {
			exec("PRAGMA wal_autocheckpoint(0)") // no commit
		}
		exec("INSERT INTO t VALUES ('" + strings.Repeat("x", 5000) + "')")
	}
	m, err := stop()
	if err != nil {
		t.Fatal(err)
	}
	end, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if want := end.Size() - begin.Size(); m.Commits != 20 || m.Bytes != want {
		t.Errorf("%d bytes in %d commits, want %d in 20", m.Bytes, m.Commits, want)
	}
}

func TestReached(t *testing.T) {
	for _, c := range []struct {
		less   bool
		rounds []float64
		want   string
	}{
		{false, nil, "not measured"}, {false, []float64{1, 2, 9}, "first"}, {false, []float64{3}, "then"}, {false, []float64{1}, "no"},
		{true, []float64{3}, "first"}, {true, []float64{2}, "then"}, {true, []float64{3.1}, "no"},
	} {
		g := goal{First: 2, Then: 3, Less: c.less, Rounds: c.rounds}
		if c.less {
			g.First, g.Then = 3, 2
		}
		if got := g.Reached(); got != c.want {
			t.Errorf("less %v, %v: %s, want %s", c.less, c.rounds, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{9, 1, 2}); m != 2 {
		t.Error(m)
	}
	if m := median([]float64{4, 1}); m != 2.5 {
		t.Error(m)
	}
	if m := median(nil); !math.IsNaN(m) {
		t.Error(m)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 10: "10", 0.45: "0.45", 0.3375: "0.338", 12.34: "12.3", 1234567.8: "1,234,568", 100_000: "100,000", 2.5: "2.5"} {
		if got := number(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}

// Every goal names a measurement that there is.
func TestGoalsAreMeasured(t *testing.T) {
	for _, g := range goals() {
		chosen, err := choose(options{only: g.By})
		if err != nil || len(chosen) != 1 || !chosen[0].goals {
			t.Errorf("%s is measured by %q: %v", g.Name, g.By, err)
		}
	}
	if _, err := choose(options{only: "http,nothing"}); err == nil {
		t.Error("a measurement that there isn't was chosen")
	}
}

// What is saved can be read again, with and without figures.
func TestReport(t *testing.T) {
	r := newReport(options{})
	p := plot{Name: "rows", Title: "a < b & c", X: "rows", Y: "events/s", LogX: true}
	for _, x := range []float64{1, 1000, 1e7} {
		p.add("ingest", x, 100*x)
		p.add("one", 5, 5)
	}
	r.plot(p)
	r.plot(plot{Name: "empty"})
	r.Cost = &cost{Rate: 10_000, Events: 1, WAL: 2500, Commits: 0.01, CPU: 100, File: 500}
	for _, rate := range []float64{100, 300, 200} {
		r.rate("json", rate)
		r.rate("ingest, rising", rate/2)
	}
	r.rate(rawWriter, 40_000)
	r.rate(drainSpread, 40_000)
	r.against("ingest", "ingest, rising", "json")
	r.against("system-b", "ingest, rising", "system-b")
	r.leaveOut("nats", "it is\nnot installed")
	dir := t.TempDir()
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var again report
	if err := json.Unmarshal(read("report.json"), &again); err != nil {
		t.Error(err)
	}
	if g := again.goal("ingest"); len(g.Rounds) != 3 || g.Reached() != "first" {
		t.Errorf("the goal was saved as %+v", g)
	}
	md := string(read("report.md"))
	for _, want := range []string{"| 0.5 | first |", "not measured", "system-b was left out", "| 27.8 h a day = 1.2 cores |", "| 1 | 10,000 | 0.86 billion | CPU |", "| 4 | 20,000 | 1.73 billion | the writer |", "- nats: it is not installed", "(rows.svg)", "| events/s | 1 | 5 | 1,000 | 10,000,000 |"} {
		if !strings.Contains(md, want) {
			t.Errorf("report.md has no %q:\n%s", want, md)
		}
	}
	for _, name := range []string{"rows.svg", "empty.svg"} {
		svg := read(name)
		if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
			t.Errorf("%s has coordinates that are none:\n%s", name, svg)
		}
		for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
}
