package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report has the results of a run. Rates are in events a second, one for each round.
type report struct {
	When     time.Time            `json:"when"`
	Form     string               `json:"form"`
	Seconds  float64              `json:"seconds"`
	Machine  machine              `json:"machine"`
	Versions map[string]string    `json:"versions"`
	Goals    []*goal              `json:"goals"`
	Rates    map[string][]float64 `json:"rates"`
	Cost     *cost                `json:"cost"`
	Plots    []plot               `json:"plots"`
	LeftOut  map[string]string    `json:"left_out"`

	order []string // of Rates
}

// goal is a row of the table of goals. First must be reached, and Then is the aim.
type goal struct {
	Name   string    `json:"name"`
	What   string    `json:"what"`
	Unit   string    `json:"unit,omitempty"`
	First  float64   `json:"first"`
	Then   float64   `json:"then"`
	Less   bool      `json:"less"` // the smaller the better
	By     string    `json:"measured_by"`
	Rounds []float64 `json:"rounds"`
	Notes  []string  `json:"notes,omitempty"`
}

// goals returns the goals of speed, without figures. Those for random ids are a quarter
// below those for ascending ones.
func goals() []*goal {
	return []*goal{
		{Name: "ingest", What: "durable ingest, 256 connections, against `json`", First: 0.45, Then: 0.60, By: "http"},
		{Name: "ingest-random", What: "the same, random ids", First: 0.45 * 0.75, Then: 0.60 * 0.75, By: "http"},
		{Name: "message", What: "ingest + message function + settle, sustained, against `json`", First: 0.33, Then: 0.50, By: "http"},
		{Name: "message-random", What: "the same, random ids", First: 0.33 * 0.75, Then: 0.50 * 0.75, By: "http"},
		{Name: "system-b", What: "ingest + message function + settle, against `system-b`", First: 6, Then: 10, By: "http"},
		{Name: "open-refused", What: "System B's mix, open loop: refused for overload", First: 0, Then: 0, Less: true, By: "open-loop"},
		{Name: "open-p99", What: "the same: p99 of accept to done", Unit: "ms", First: 250, Then: 100, Less: true, By: "open-loop"},
		{Name: "batches", What: "batches of 100 in one array, against the raw writer at groups of 1,000", First: 0.8, Then: 0.9, By: "batches"},
		{Name: "drain", What: "drain over 1,000 accounts, `Pure`, writes nothing, against the raw writer's appends at groups of 1,000", First: 1.0, Then: 1.5, By: "drain"},
		{Name: "drain-one", What: "the same with all events in one account, against the row above", First: 0.3, Then: 0.8, By: "drain"},
		{Name: "system-a-even", What: "System A, makespan / floor, even", First: 1.05, Then: 1.02, Less: true, By: "system-a"},
		{Name: "system-a-random", What: "the same, random", First: 1.05, Then: 1.02, Less: true, By: "system-a"},
		{Name: "wide", What: "10,000 accounts with a backlog of 10 events, 1 s each: makespan (from the process's start) / floor", First: 1.25, Then: 1.10, Less: true, By: "wide"},
		{Name: "rows", What: "ingest at 10,000,000 rows in the outbox / at 1,000,000", First: 0.7, Then: 0.9, By: "rows"},
		{Name: "wal", What: "WAL an event, append + settle, 1,000 accounts, under the load of `message`", Unit: "bytes", First: 7000, Then: 1500, Less: true, By: "http"},
		{Name: "latency", What: "idle server, one event at a time: request to result p50, in fsyncs", First: 3, Then: 2.5, Less: true, By: "latency"},
		{Name: "ready", What: "time to ready with 1,000,000 pending events", Unit: "s", First: 4, Then: 2, Less: true, By: "pending"},
		{Name: "memory", What: "RSS with 1,000,000 pending events in 1,000 accounts", Unit: "MB", First: 300, Then: 150, Less: true, By: "pending"},
		{Name: "idle", What: "CPU of an idle server with 1,000,000 accounts", Unit: "%", First: 0.5, Then: 0.1, Less: true, By: "idle"},
	}
}

// Reached returns which of the goal's two columns the median meets.
func (g *goal) Reached() string {
	if len(g.Rounds) == 0 {
		return "not measured"
	}
	sign := 1.0
	if g.Less {
		sign = -1
	}
	switch m := sign * median(g.Rounds); {
	case m >= sign*g.Then:
		return "then"
	case m >= sign*g.First:
		return "first"
	}
	return "no"
}

func newReport(o options) *report {
	form := "full"
	switch {
	case o.quick:
		form = "quick: only a smoke run, its figures mean nothing"
	case o.brief:
		form = "brief: to see what a change does"
	case o.goals:
		form = "goals"
	}
	if o.only != "" {
		form += ", only " + o.only
	}
	return &report{
		When: time.Now().UTC().Truncate(time.Second), Form: form, Goals: goals(),
		Versions: map[string]string{"go": runtime.Version()}, Rates: map[string][]float64{}, LeftOut: map[string]string{},
	}
}

// leaveOut notes why a part is not in the report. The first reason stays.
func (r *report) leaveOut(what, reason string) {
	if _, known := r.LeftOut[what]; !known {
		r.LeftOut[what] = reason
	}
}

// rate adds a round.
func (r *report) rate(name string, perSecond float64) {
	if _, known := r.Rates[name]; !known {
		r.order = append(r.order, name)
	}
	r.Rates[name] = append(r.Rates[name], perSecond)
}

func (r *report) goal(name string) *goal {
	return r.Goals[slices.IndexFunc(r.Goals, func(g *goal) bool { return g.Name == name })]
}

func (r *report) measured(name string, values ...float64) {
	g := r.goal(name)
	g.Rounds = append(g.Rounds, values...)
}

func (r *report) note(name, text string) {
	g := r.goal(name)
	g.Notes = append(g.Notes, text)
}

// against measures a goal as the ratio of two rates, round by round.
func (r *report) against(goal, rate, to string) {
	a, b := r.Rates[rate], r.Rates[to]
	if len(b) == 0 {
		r.note(goal, to+" was left out")
		return
	}
	for i := range min(len(a), len(b)) {
		r.measured(goal, a[i]/b[i])
	}
}

func (r *report) plot(p plot) { r.Plots = append(r.Plots, p) }

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// middle returns the run with the median rate.
func middle(costs []cost) *cost {
	if len(costs) == 0 {
		return nil
	}
	slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.Rate, b.Rate) })
	return &costs[len(costs)/2]
}

func each[T any](all []T, of func(T) float64) (values []float64) {
	for _, x := range all {
		values = append(values, of(x))
	}
	return values
}

// save writes report.md, report.json and each plot as SVG.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var md bytes.Buffer
	data, err := json.MarshalIndent(r, "", "  ")
	err = errors.Join(err, r.markdown(&md), os.WriteFile(filepath.Join(dir, "report.json"), append(data, '\n'), 0o644))
	for _, p := range r.Plots {
		fmt.Fprintf(&md, "\n![%s](%s.svg)\n", p.Title, p.Name)
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, p.Name+".svg"), p.svg(), 0o644))
	}
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "report.md"), md.Bytes(), 0o644))
}

func (r *report) markdown(w io.Writer) error {
	var b bytes.Buffer
	m := r.Machine
	fmt.Fprintf(&b, "# Figures of %s\n\n", r.When.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, "%s, %.0f s; medians, ratios within this run. %d cores (%s), %.0f GB, Linux %s, an fsync of 4 KiB p50 %.2f ms, p99 %.2f ms.\n",
		r.Form, r.Seconds, m.Cores, m.CPU, m.MemoryGB, m.Kernel, m.Fsync.P50, m.Fsync.P99)
	if m.Busy() {
		fmt.Fprintf(&b, "**The machine was busy when the run began (load %.1f): these figures are only a hint.**\n", m.Load)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "%s: %s. ", name, r.Versions[name])
	}
	b.WriteString("\n\n## Goals\n\n| what | first | then | measured | reached | rounds | command |\n|---|---|---|---|---|---|---|\n")
	for _, g := range r.Goals {
		text := "–"
		if len(g.Rounds) > 0 {
			text = strings.TrimSpace(number(median(g.Rounds)) + " " + g.Unit)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | `go run ./bench --only %s` |\n", g.What, number(g.First), number(g.Then), text, g.Reached(),
			strings.Join(numbers(g.Rounds), ", "), g.By)
	}
	b.WriteString("\n")
	for _, g := range r.Goals {
		if len(g.Notes) > 0 {
			fmt.Fprintf(&b, "- %s: %s\n", g.Name, strings.Join(g.Notes, "; "))
		}
	}
	r.rates(&b)
	r.costs(&b)
	for _, p := range r.Plots {
		p.table(&b)
	}
	if len(r.LeftOut) > 0 {
		b.WriteString("\n## Left out\n\n")
		for _, name := range slices.Sorted(maps.Keys(r.LeftOut)) {
			fmt.Fprintf(&b, "- %s: %s\n", name, strings.ReplaceAll(r.LeftOut[name], "\n", " "))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r *report) rates(b *bytes.Buffer) {
	if len(r.order) == 0 {
		return
	}
	b.WriteString("\n## Events a second\n\nOver HTTP: 256 connections, TLS, one event a request, 2xx answers only.\n\n| | median | against `json` | rounds |\n|---|---|---|---|\n")
	for _, name := range r.order {
		share := ""
		if json := r.Rates["json"]; len(json) > 0 {
			share = fmt.Sprintf("%.2f", median(r.Rates[name])/median(json))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, number(median(r.Rates[name])), share, strings.Join(numbers(r.Rates[name]), ", "))
	}
}

// costs prints the figures of DESIGN.md's cost model.
func (r *report) costs(b *bytes.Buffer) {
	c := r.Cost
	if c == nil {
		return
	}
	const day = 86400
	perDay := func(events float64) (cpu, wal, file, fsyncs string) {
		return duration(events * c.CPU / 1e6), bytesText(events * c.WAL), bytesText(events * c.File), number(events / day * c.Commits)
	}
	fmt.Fprintf(b, "\n## Cost of an event\n\nUnder the load of the goal `message` (%s events/s); at low load a group is one event, and an event is two fsyncs.\n\n", number(c.Rate))
	fmt.Fprintf(b, "| | one event | 1 million a day (12/s) | 1 billion a day (11,574/s) |\n|---|---|---|---|\n")
	cpuM, walM, fileM, _ := perDay(1e6)
	cpuG, walG, fileG, fsyncG := perDay(1e9)
	fmt.Fprintf(b, "| CPU of the server | %.0f µs | %s a day | %s a day = %.1f cores |\n", c.CPU, cpuM, cpuG, 1e9*c.CPU/1e6/day)
	fmt.Fprintf(b, "| WAL written | %s B | %s a day | %s a day, %s/s |\n", number(c.WAL), walM, walG, bytesText(1e9*c.WAL/day))
	fmt.Fprintf(b, "| file kept | %s B | %s a day | %s a day |\n", number(c.File), fileM, fileG)
	fmt.Fprintf(b, "| fsyncs (commits) | %.3f | at most 2 an event, 23/s | %s/s |\n", c.Commits, fsyncG)
	writer := r.writer()
	if math.IsNaN(writer) {
		return
	}
	fmt.Fprintf(b, "\nThe one writer: %s events/s at most (an append takes it %.0f µs, a settle that writes nothing else %.0f µs). So, without the sender:\n\n", number(writer),
		1e6/median(r.Rates[rawWriter]), 1e6/median(r.Rates[drainSpread]))
	b.WriteString("| cores | events/s at most | a day | by |\n|---|---|---|---|\n")
	for _, cores := range []float64{1, 2, 4, 8} {
		most, by := cores*1e6/c.CPU, "CPU"
		if most > writer {
			most, by = writer, "the writer"
		}
		fmt.Fprintf(b, "| %.0f | %s | %.2f billion | %s |\n", cores, number(most), most*day/1e9, by)
	}
}

// writer returns how many events a second one goroutine can append and settle, NaN if its
// parts were not measured.
func (r *report) writer() float64 {
	return 1 / (1/median(r.Rates[rawWriter]) + 1/median(r.Rates[drainSpread]))
}

func duration(seconds float64) string {
	if seconds < 7200 {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%.1f h", seconds/3600)
}

func bytesText(n float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 1000 {
			return number(n) + " " + unit
		}
		n /= 1000
	}
	return number(n) + " TB"
}

// number formats v with three significant digits, and with all digits before the point.
func number(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "–"
	case x == math.Trunc(x):
		return thousands(int(x))
	case a >= 1000:
		return thousands(int(math.Round(x)))
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func numbers(all []float64) []string {
	texts := []string{}
	for _, x := range all {
		texts = append(texts, number(x))
	}
	return texts
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
