// Command bench measures this tree beside what a user would pick instead, in one
// run, the sides taking turns, and writes what it found as Markdown, JSON and SVG.
// NOTES.md says how, and what the figures are good for.
//
//	go run ./bench --peers DIR           everything, 13 minutes or more
//	go run ./bench --peers DIR --goals   the table of goals, about 10 minutes
//	go run ./bench --brief --only http   what a change does, in a minute
//	go run ./bench --quick               a smoke run of everything; its figures mean nothing
//
// It wants Linux, wrk and sqlite3; what is missing is left out and named. It measures
// and judges nothing: its exit status is 1 only if something could not be measured
// that should have been, such as rows that are fewer than the answers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	peers string
	tree  string
	dir   string
	out   string
	only  string
	goals bool
	brief bool
	quick bool
}

func main() {
	var o options
	flag.StringVar(&o.peers, "peers", os.Getenv("PEERS"), "`folder` of the peers' source (or $PEERS); without it they are left out")
	flag.StringVar(&o.tree, "tree", ".", "`folder` of the tree that is measured")
	flag.StringVar(&o.dir, "dir", "", "`folder` for databases, on the disk that is to be measured; needs 8 GB in the full form; default: the system's temporary one")
	flag.StringVar(&o.out, "out", "", "`folder` for report.md, report.json and the plots; default: bench/figures, and with --only, --brief or --quick none")
	flag.StringVar(&o.only, "only", "", "comma-separated `names` of measurements: "+strings.Join(names(), ", "))
	flag.BoolVar(&o.goals, "goals", false, "only what the table of goals needs")
	flag.BoolVar(&o.brief, "brief", false, "three short rounds beside json alone: to see what a change does, with --only")
	flag.BoolVar(&o.quick, "quick", false, "everything once, so small that it means nothing")
	flag.Parse()
	if o.out == "" && o.only == "" && !o.quick && !o.brief {
		o.out = filepath.Join(o.tree, "bench", "figures")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measurement is a part of a run. It may give several rows and plots.
type measurement struct {
	name  string
	goals bool     // the table of goals needs it
	needs []string // programs
	run   func(*bench) error
}

// measurements are all measurements, in the order in which they run.
var measurements = []measurement{
	{"http", true, []string{"wrk"}, (*bench).http},
	{"open-loop", true, nil, (*bench).openLoop},
	{"batches", true, []string{"wrk"}, (*bench).batches},
	{"drain", true, nil, (*bench).drain},
	{"system-a", true, nil, (*bench).systemA},
	{"wide", true, []string{"sqlite3"}, (*bench).wide},
	{"latency", true, nil, (*bench).latency},
	{"pending", true, []string{"sqlite3"}, (*bench).pending},
	{"idle", true, []string{"sqlite3"}, (*bench).idle},
	{"rows", true, []string{"sqlite3", "wrk"}, (*bench).rows},
	{"connections", false, []string{"wrk"}, (*bench).connections},
	{"rates", false, nil, (*bench).rates},
	{"accounts", false, nil, (*bench).accounts},
}

func names() (all []string) {
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return all
}

// bench is one run.
type bench struct {
	ctx  context.Context
	o    options
	size sizes
	dir  string // everything that is written but the report; removed in the end
	log  io.Writer
	*programs
	*report
}

func run(ctx context.Context, o options, out, log io.Writer) (err error) {
	chosen, err := choose(o)
	if err != nil {
		return err
	}
	began := time.Now()
	dir, err := os.MkdirTemp(o.dir, "inturn-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{ctx: ctx, o: o, size: sizesOf(o), dir: dir, log: log, report: newReport(o)}
	if b.Machine, err = lookAtMachine(dir); err != nil {
		return err
	}
	if b.programs, err = b.build(); err != nil {
		return err
	}
	var wrong []error
	for _, m := range chosen {
		if missing := b.missing(m.needs); missing != "" {
			b.leaveOut(m.name, missing+" is not installed")
			if os.Getenv("INTURN_NEED") != "" { // CI has everything
				wrong = append(wrong, fmt.Errorf("%s: %s is not installed", m.name, missing))
			}
			continue
		}
		fmt.Fprintf(log, "%6.1f s  %s\n", time.Since(began).Seconds(), m.name)
		if err := m.run(b); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			err = fmt.Errorf("%s: %w", m.name, err)
			fmt.Fprintln(log, "bench:", err)
			b.leaveOut(m.name, err.Error())
			wrong = append(wrong, err)
		}
	}
	b.Seconds = time.Since(began).Seconds()
	if err := b.report.markdown(out); err != nil {
		return err
	}
	if o.out != "" {
		wrong = append(wrong, b.report.save(o.out))
	}
	return errors.Join(wrong...)
}

// choose returns the measurements that the flags select.
func choose(o options) (chosen []measurement, err error) {
	if o.only == "" {
		for _, m := range measurements {
			if m.goals || !o.goals {
				chosen = append(chosen, m)
			}
		}
		return chosen, nil
	}
	for name := range strings.SplitSeq(o.only, ",") {
		at := slices.Index(names(), name)
		if at < 0 {
			return nil, fmt.Errorf("--only %q: there is %s", name, strings.Join(names(), ", "))
		}
		chosen = append(chosen, measurements[at])
	}
	return chosen, nil
}

// sizes bound every measurement in count and time.
type sizes struct {
	rounds      int
	many        int             // connections at which most goals are defined
	loop        time.Duration   // of one closed loop, in whole seconds
	sustained   []time.Duration // of the message function's, a round each
	peer        time.Duration   // of one peer's closed loop
	open        time.Duration   // at openRate
	openRate    int
	raw         int // rows of the raw writer
	drain       int // events of the backlog
	demoEvents  int
	demoAcc     int
	demoWork    time.Duration
	demoRounds  int
	wideAcc     int // accounts with 10 events each
	wideWork    time.Duration
	latency     int // events, one at a time
	pendingAcc  int
	pendingEach int
	idleAcc     int
	idle        time.Duration
	rows        []int // of the outbox; the goal is the last against the one before
	connections []int
	rates       []int
	rate        time.Duration
	accounts    []int
}

func sizesOf(o options) sizes {
	s := sizes{
		rounds: 3, many: 256, loop: 5 * time.Second, peer: 4 * time.Second,
		sustained: []time.Duration{60 * time.Second, 15 * time.Second, 15 * time.Second},
		open:      60 * time.Second, openRate: 10_000,
		raw: 150_000, drain: 200_000,
		demoEvents: 10_000, demoAcc: 1000, demoWork: time.Second, demoRounds: 3,
		wideAcc: 10_000, wideWork: time.Second, latency: 300,
		pendingAcc: 1000, pendingEach: 1000, idleAcc: 1_000_000, idle: 15 * time.Second,
		rows:        []int{10_000, 100_000, 1_000_000, 10_000_000},
		connections: []int{1, 4, 16, 64, 256}, rates: []int{1000, 2500, 5000, 7500, 10_000}, rate: 8 * time.Second,
		accounts: []int{100, 1000, 10_000},
	}
	if o.goals {
		s.rows, s.demoRounds = s.rows[2:], 1
		s.loop, s.drain = 4*time.Second, 100_000
		s.sustained = []time.Duration{60 * time.Second, 10 * time.Second, 10 * time.Second}
	}
	if o.brief {
		s.loop, s.peer, s.open, s.idle = 3*time.Second, 3*time.Second, 15*time.Second, 6*time.Second
		s.sustained = []time.Duration{s.loop, s.loop, s.loop}
		s.raw, s.drain, s.demoRounds = 100_000, 100_000, 1
		s.rows = []int{100_000, 1_000_000}
	}
	if o.quick {
		s = sizes{
			rounds: 1, many: 16, loop: time.Second, peer: time.Second, sustained: []time.Duration{time.Second},
			open: time.Second, openRate: 200, raw: 2000, drain: 2000,
			demoEvents: 50, demoAcc: 10, demoWork: 10 * time.Millisecond, demoRounds: 1,
			wideAcc: 50, wideWork: 10 * time.Millisecond, latency: 10,
			pendingAcc: 10, pendingEach: 20, idleAcc: 100, idle: 200 * time.Millisecond,
			rows: []int{1000, 2000}, connections: []int{4}, rates: []int{200}, rate: 500 * time.Millisecond,
			accounts: []int{10},
		}
	}
	return s
}
