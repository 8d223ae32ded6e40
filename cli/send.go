package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"inturn/client"
)

// Send sends a file of events, for each client_id in the order of the file. It goes on
// after the server was away: what was not answered is sent again.
type Send struct {
	Client
	File        string        `arg:"" help:"CSV as of generate, or NDJSON with an event a line; - is standard input."`
	Connections int           `help:"Requests in flight, over HTTP." default:"64" env:"INTURN_CONNECTIONS"`
	Patience    time.Duration `help:"How long nothing may be taken before it gives up." default:"5m" env:"INTURN_PATIENCE"`
	Continue    bool          `name:"continue" help:"After a refused event send the later ones of its client_id all the same." env:"INTURN_CONTINUE"`
	JSON        bool          `help:"Print the summary as JSON." env:"INTURN_JSON"`
}

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (s Send) Validate() error {
	switch {
	case s.Connections < 1 || s.Connections > 10_000:
		return errors.New("--connections must be 1 to 10000")
	case s.Patience <= 0:
		return errors.New("--patience must be more than 0")
	}
	return nil
}

// Run returns an error if an event was refused, or not sent because an earlier one
// of its client_id was refused, or if the server could not be reached for long.
func (s Send) Run(ctx context.Context, out IO) error {
	file, total, err := s.open()
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	defer file.Close()
	stream := strings.HasPrefix(s.URL, "ws")
	t := &tally{progress: newMeter(out.Err, total), errOut: out.Err, goOn: s.Continue, held: map[string]struct{}{}, moved: time.Now()}
	t.progress.what = "handled"
	c, err := s.connect(t)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	items := make(chan item, 256)
	var reading sync.WaitGroup
	defer func() {
		cancel(nil)
		file.Close() // standard input may be waiting
		reading.Wait()
	}()
	reading.Go(func() {
		defer close(items)
		if err := readItems(ctx, file, items); err != nil {
			t.fail(err)
		}
	})
	if stream {
		err = (&streamSender{client: c, tally: t, items: items, goOn: s.Continue}).run(ctx)
	} else {
		err = (&httpSender{connections: s.Connections, client: c, tally: t, items: items}).run(ctx)
	}
	t.progress.end()
	if perr := t.print(out.Out, s.JSON); err == nil {
		err = perr
	}
	if err == nil {
		err = t.err()
	}
	if err != nil {
		return fmt.Errorf("send: %w", unreached(err))
	}
	return nil
}

// forHTTP returns the client with the HTTP address of a WebSocket's.
func (s Send) forHTTP() (Client, error) {
	c := s.Client
	base, err := url.Parse(c.URL)
	if err != nil {
		return c, &Hint{Err: fmt.Errorf("url %q: is not the address of a server", c.URL), Hint: "an address looks like https://localhost:8443 or wss://localhost:8443"}
	}
	if s, ok := strings.CutPrefix(base.Scheme, "ws"); ok {
		base.Scheme = "http" + s
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	for _, way := range []string{"/v1/stream", "/v1/events"} { // the server's address is meant
		base.Path = strings.TrimSuffix(base.Path, way)
	}
	c.URL = base.String()
	return c, nil
}

// connect returns the client that sends, which gives up once nothing was taken for long.
func (s Send) connect(t *tally) (*client.Client, error) {
	c, err := s.forHTTP()
	if err != nil {
		return nil, err
	}
	h, err := c.HTTP()
	if err != nil {
		return nil, err
	}
	if t, ok := transport(h); ok {
		t.MaxIdleConnsPerHost = s.Connections
	}
	return client.New(c.URL, client.Options{HTTP: h, Retrying: func(reason error) error {
		if t.trouble(reason) > s.Patience {
			return fmt.Errorf("nothing was taken for %v: %w", s.Patience, reason)
		}
		return nil
	}})
}

// open opens the file and returns how many events it has, 0 if that isn't known. A row
// that has line breaks in it counts more than once.
func (s Send) open() (io.ReadCloser, int, error) {
	if s.File == "-" {
		return os.Stdin, 0, nil
	}
	f, err := os.Open(s.File)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s: is a folder", s.File)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return f, 0, nil
	}
	lines, first := 0, byte(0)
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		part, err := r.ReadSlice('\n')
		if first == 0 && len(bytes.TrimSpace(part)) > 0 {
			first = bytes.TrimSpace(part)[0]
		}
		if err == nil || err == io.EOF && len(part) > 0 {
			lines++
		}
		if err != nil && err != bufio.ErrBufferFull {
			break
		}
	}
	if first != '{' { // CSV has a header
		lines--
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, max(lines, 0), nil
}

// tally counts what became of the events. It is safe for concurrent use.
type tally struct {
	errOut io.Writer
	goOn   bool

	mu       sync.Mutex
	progress *meter
	held     map[string]struct{} // client_ids that had an event refused
	moved    time.Time           // when an event was last answered
	said     string              // the last trouble that was told
	failed   error

	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Refused    int `json:"refused"`
	NotSent    int `json:"not_attempted"` // later events of a client_id that had one refused
}

func (t *tally) taken(duplicate bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if duplicate {
		t.Duplicates++
	} else {
		t.Accepted++
	}
	t.step()
}

// step notes progress. t.mu is held.
func (t *tally) step() {
	t.moved, t.said = time.Now(), ""
	t.progress.show(t.Accepted + t.Duplicates + t.Refused + t.NotSent)
}

const maxRefusals = 20 // printed one by one

func (t *tally) refused(it item, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Refused++; t.Refused <= maxRefusals {
		fmt.Fprintf(t.errOut, "line %d: %s %s: refused: %s\n", it.line, printable(it.clientID), printable(it.messageID), printable(why))
	}
	if !t.goOn {
		t.held[it.clientID] = struct{}{}
	}
	t.step()
}

// skip reports whether it must not be sent, and counts it then: an earlier event of its
// client_id was refused. The file can be repaired and sent again, in order.
func (t *tally) skip(it item) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, held := t.held[it.clientID]
	if held {
		t.NotSent++
		t.step()
	}
	return held
}

func (t *tally) notAttempted() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.NotSent++
	t.step()
}

// trouble prints once why sending waits, and returns how long it has waited.
func (t *tally) trouble(err error) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := err.Error(); text != t.said && t.said == "" {
		t.said = text
		fmt.Fprintf(t.errOut, "waiting for the server: %s\n", printable(text))
	}
	return time.Since(t.moved)
}

func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		t.failed = err
	}
}

func (t *tally) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.failed != nil:
		return t.failed
	case t.NotSent > 0:
		return fmt.Errorf("%s refused, and %d later ones of their client_ids not sent", counted(t.Refused, "event was", "events were"), t.NotSent)
	case t.Refused > 0:
		return fmt.Errorf("%s refused", counted(t.Refused, "event was", "events were"))
	}
	return nil
}

func (t *tally) print(w io.Writer, asJSON bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if asJSON {
		return json.NewEncoder(w).Encode(t)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "accepted\t%d\nduplicate\t%d\nrefused\t%d\n", t.Accepted, t.Duplicates, t.Refused)
	if t.NotSent > 0 {
		fmt.Fprintf(table, "not sent\t%d\n", t.NotSent)
	}
	return table.Flush()
}
