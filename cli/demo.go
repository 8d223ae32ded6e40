package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"text/tabwriter"
	"time"
)

// Demo is System A in one command: a server over real TLS on a temporary file, a
// sender, and a judge that reads the file alone.
type Demo struct {
	Events       int           `help:"Number of events." default:"10000" env:"INTURN_EVENTS"`
	Accounts     int           `help:"Number of accounts." default:"1000" env:"INTURN_ACCOUNTS"`
	Work         time.Duration `help:"How long one event takes, 1ms to 1m." default:"1s" env:"INTURN_WORK"`
	Distribution string        `help:"How events are spread over accounts: even, random or zipf." enum:"even,random,zipf" default:"even" env:"INTURN_DISTRIBUTION"`
	Seed         uint64        `help:"The same seed gives the same events." default:"1" env:"INTURN_SEED"`
	JSON         bool          `help:"Print the result as JSON." env:"INTURN_JSON"`
	Token        string        `hidden:"" env:"INTURN_TOKEN"` // the demo's server asks for it where it is set
}

// The judge keeps a row an event in memory.
const (
	maxDemoEvents   = 1_000_000
	maxDemoAccounts = 1_000_000
)

// DemoDB is the name of the database file in the folder that Start gets.
const DemoDB = "inturn.db"

// Start runs a server on 127.0.0.1:0 with self-signed TLS and the database file
// DemoDB in the folder dir, until ctx ends. Once it takes events it
// calls ready, once, with the host and port it listens on and the file that holds
// its CA. It returns when everything is drained and closed: nil if that was because ctx
// ended.
type Start func(ctx context.Context, dir string, ready func(addr, caFile string)) error

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (d Demo) Validate() error {
	switch {
	case d.Events < 1 || d.Events > maxDemoEvents:
		return fmt.Errorf("--events must be 1 to %d", maxDemoEvents)
	case d.Accounts < 1 || d.Accounts > maxDemoAccounts:
		return fmt.Errorf("--accounts must be 1 to %d", maxDemoAccounts)
	case d.Work < time.Millisecond || d.Work > time.Minute || d.Work%time.Millisecond != 0:
		return errors.New("--work must be 1ms to 1m, in whole milliseconds")
	}
	return nil
}

// Run returns an error if an event was lost, processed twice or out of turn, or if
// ctx ended before the end.
func (d Demo) Run(ctx context.Context, out IO, start Start) (err error) {
	counts, err := d.counts()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	dir, err := os.MkdirTemp("", "inturn-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	if err := d.load(ctx, out, start, dir, counts); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("demo: %w", ctx.Err())
		}
		return fmt.Errorf("demo: %w", err)
	}
	rows, err := readRuns(ctx, filepath.Join(dir, DemoDB))
	if err != nil {
		return fmt.Errorf("demo: read the results: %w", err)
	}
	v := judge(rows, counts, d.Work)
	if err := d.print(out, v); err != nil {
		return err
	}
	return v.err()
}

// counts draws how many events each account gets.
func (d Demo) counts() ([]int, error) {
	next, err := newDistribution(d.Distribution, d.Accounts, d.Seed)
	if err != nil {
		return nil, err
	}
	counts := make([]int, d.Accounts)
	for range d.Events {
		counts[next()]++
	}
	return counts, nil
}

// load starts the server, sends all events, waits until they are settled, and
// stops the server. It returns nil also if the events stop being settled before
// the end: the judge says what is missing.
func (d Demo) load(ctx context.Context, out IO, start Start, dir string, counts []int) (err error) {
	server := startServer(ctx, dir, start)
	defer func() { err = errors.Join(err, server.stop()) }()
	addr, ca, err := server.ready(ctx)
	if err != nil {
		return err
	}

	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unhook := context.AfterFunc(server.ended, func() { cancel(errServerEnded) })
	defer unhook()

	s := newSender(Client{URL: "https://" + addr, CACert: ca, Token: d.Token}, d.Work, d.Seed)
	var sending sync.WaitGroup
	sending.Go(func() {
		if err := s.send(run, counts); err != nil {
			cancel(fmt.Errorf("send: %w", err))
		}
	})
	progress := newProgress(out.Err, d.Events)
	err = watch(run, filepath.Join(dir, DemoDB), s, d.Work, progress)
	progress.end()
	if err != nil {
		cancel(err) // does nothing if what ended watch was another's cancel
		err = context.Cause(run)
	}
	sending.Wait()
	return err
}

func (d Demo) print(out IO, v verdict) error {
	if d.JSON {
		return json.NewEncoder(out.Out).Encode(v)
	}
	w := tabwriter.NewWriter(out.Out, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	line("events", "%d", v.Events)
	line("accounts", "%d", v.Accounts)
	line("processed", "%d", v.Processed)
	line("floor", "%.3f s\tthe largest account's events (%d) x %v", v.Floor, v.largest, d.Work)
	line("makespan", "%.3f s\tfirst accepted to last settled", v.Makespan)
	line("ratio", "%.3f\tmakespan / floor", v.Ratio)
	line("order violations", "%d", v.OrderViolations)
	line("duplicates", "%d", v.Duplicates)
	line("lost", "%d", v.lost)
	return w.Flush()
}
