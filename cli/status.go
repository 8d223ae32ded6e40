package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Status is `inturn status`.
type Status struct {
	Client
	Watch bool `help:"Draw it again each second, until a signal ends it." env:"INTURN_WATCH"`
	JSON  bool `help:"Print JSON; with --watch a line each second." env:"INTURN_JSON"`
}

// redrawEvery is the time from one screen to the next.
const redrawEvery = time.Second

// clearScreen moves the cursor to the top left and erases what is below (ECMA-48, 8.3.21 and
// 8.3.39).
const clearScreen = "\x1b[H\x1b[J"

// Run prints the status once, or again and again until ctx ends, which is no error then. A
// server that is away after the first screen is waited for.
func (s Status) Run(ctx context.Context, out IO) error {
	return named("status", s.Client.with(func(a *asker) error {
		if !s.Watch {
			return s.show(ctx, a, out.Out, "")
		}
		erase := ""
		if isTerminal(out.Out) && !s.JSON {
			erase = clearScreen
		}
		return s.watch(ctx, a, out, erase, redrawEvery)
	}))
}

func (s Status) watch(ctx context.Context, a *asker, out IO, erase string, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for shown := false; ; {
		err := s.show(ctx, a, out.Out, erase)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			shown = true
		case !shown:
			return err
		default:
			fmt.Fprintf(out.Err, "inturn: status: %s; asking again\n", printable(err.Error()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// show prints one screen, or line, in one write.
func (s Status) show(ctx context.Context, a *asker, w io.Writer, erase string) error {
	var text jsontext.Value
	if err := a.get(ctx, "/v1/status", &text); err != nil {
		return err
	}
	var b bytes.Buffer
	if s.JSON {
		if err := printJSON(&b, text); err != nil {
			return err
		}
	} else {
		var shown status
		if err := jsonv2.Unmarshal(text, &shown); err != nil {
			return fmt.Errorf("the answer can't be read: %w", err)
		}
		b.WriteString(erase)
		if err := shown.print(&b); err != nil {
			return err
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// status is the answer of GET /v1/status.
type status struct {
	At        time.Time `json:"at"`
	Ready     bool      `json:"ready"`
	Pending   int64     `json:"pending"`
	Scheduled int64     `json:"scheduled"`
	Dead      int64     `json:"dead"`
	Waiting   int64     `json:"waiting"`
	Running   int64     `json:"running"`
	Retrying  int64     `json:"retrying"`
	Parked    int64     `json:"parked"`
	Stuck     int64     `json:"stuck"`
	Paused    int64     `json:"paused"`
	Rates     struct {
		Accepted float64 `json:"accepted"`
		Done     float64 `json:"done"`
	} `json:"rates"`
	Oldest struct {
		ReceivedAt time.Time `json:"received_at"`
		AgeSeconds float64   `json:"age_seconds"`
	} `json:"oldest"`
	TypesWithoutFunction []struct {
		Type     string `json:"type"`
		Accounts int64  `json:"accounts"`
	} `json:"types_without_function"`
	Endpoints []struct {
		Type  string `json:"type"`
		State string `json:"state"`
	} `json:"endpoints"`
	Storage struct {
		FileBytes int64 `json:"file_bytes"`
		WALBytes  int64 `json:"wal_bytes"`
		DiskFree  int64 `json:"disk_free_bytes"`
		DiskSize  int64 `json:"disk_size_bytes"`
	} `json:"storage"`
	Warnings []string `json:"warnings"`
}

// print prints the status for people.
func (s *status) print(w io.Writer) error {
	f := newFacts(w)
	f.add("at", at(s.At))
	f.add("takes events", yesNo(s.Ready))
	f.add("events", fmt.Sprintf("%d pending, %d scheduled, %s dead", s.Pending, s.Scheduled, orMore(s.Dead)))
	f.add("accounts", fmt.Sprintf("%d waiting, %d running, %d retrying, %d parked, %d stuck, %s paused", s.Waiting, s.Running, s.Retrying, s.Parked, s.Stuck, orMore(s.Paused)))
	f.add("rates", fmt.Sprintf("%.1f/s accepted, %.1f/s done", s.Rates.Accepted, s.Rates.Done))
	if s.Oldest.ReceivedAt.IsZero() {
		f.add("oldest", "nothing is pending")
	} else {
		age := time.Duration(s.Oldest.AgeSeconds * float64(time.Second)).Round(time.Second)
		f.add("oldest", fmt.Sprintf("%v, since %s", age, at(s.Oldest.ReceivedAt)))
	}
	for _, t := range s.TypesWithoutFunction {
		f.add("no function", fmt.Sprintf("%s, %s", t.Type, counted(t.Accounts, "account waits", "accounts wait")))
	}
	for _, e := range s.Endpoints {
		f.add("endpoint", e.Type+" "+e.State)
	}
	storage := []string{"file " + size(s.Storage.FileBytes), "WAL " + size(s.Storage.WALBytes)}
	if s.Storage.DiskSize > 0 {
		storage = append(storage, fmt.Sprintf("%s of %s free", size(s.Storage.DiskFree), size(s.Storage.DiskSize)))
	}
	f.add("storage", strings.Join(storage, ", "))
	for _, warning := range s.Warnings {
		f.add("warning", warning)
	}
	return f.end()
}

// orMore formats a count that the server ends at 100,000.
func orMore(n int64) string {
	if n >= 100_000 {
		return fmt.Sprint(n, " or more")
	}
	return fmt.Sprint(n)
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// size formats a number of bytes.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
