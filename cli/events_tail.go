package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// EventsTail is `inturn events tail`.
type EventsTail struct {
	Client
	ClientID string `name:"client" aliases:"client-id" help:"Only those of this client_id." env:"INTURN_CLIENT_ID" placeholder:"ID"`
	Type     string `help:"Only those of this type." env:"INTURN_TYPE"`
	JSON     bool   `help:"Print JSON, a line each." env:"INTURN_JSON"`
}

// tailAgain is the time from the end of a connection to the next one.
const tailAgain = time.Second

// Run prints a line for each event that is accepted, settled, retried or parked from now on,
// until ctx ends, which is no error. A connection that breaks is made again, and goes on
// where it was; what could not be had is said.
func (t EventsTail) Run(ctx context.Context, out IO) error {
	return named("events tail", t.Client.with(func(a *asker) error {
		a.client.Timeout = 0 // an answer has no end
		tail := &tail{asker: a, out: out, json: t.JSON, query: url.Values{}}
		for name, value := range map[string]string{"client_id": t.ClientID, "type": t.Type} {
			if value != "" {
				tail.query.Set(name, value)
			}
		}
		return tail.run(ctx, tailAgain)
	}))
}

// tail follows GET /v1/watch.
type tail struct {
	*asker
	out   IO
	json  bool
	query url.Values
	last  string // id of the last event that came
}

func (t *tail) run(ctx context.Context, again time.Duration) error {
	for came := false; ; {
		err := t.follow(ctx, &came)
		var refusal *refused
		switch {
		case ctx.Err() != nil:
			return nil
		case !came, errors.Is(err, errPrint), errors.As(err, &refusal) && refusal.status < 500:
			return err
		}
		fmt.Fprintf(t.out.Err, "inturn: events tail: %s; asking again\n", printable(err.Error()))
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return nil
		}
	}
}

// errPrint is for a line that can't be printed: nobody reads any more.
var errPrint = errors.New("print")

// follow prints what one connection brings. It sets came once the server has answered.
func (t *tail) follow(ctx context.Context, came *bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base+"/v1/watch?"+t.query.Encode(), nil)
	if err != nil {
		return err
	}
	if t.last != "" {
		req.Header.Set("Last-Event-ID", t.last)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return t.explain(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxPageBody))
		if err != nil {
			return fmt.Errorf("%s: the answer was cut off: %w", t.base, err)
		}
		return t.refusal(resp, text)
	}
	*came = true
	return t.read(resp.Body)
}

// maxEventLine bounds a line of the stream, in bytes.
const maxEventLine = 1 << 20

// read prints the server-sent events of body (HTML, section 9.2.6) until it ends, and says why.
func (t *tail) read(body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEventLine)
	var kind, data string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			t.last = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if lines.Text() == "" && data != "" {
				if err := t.print(kind, []byte(data)); err != nil {
					return err
				}
				kind, data = "", ""
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: the connection broke: %w", t.base, err)
	}
	return fmt.Errorf("%s: the server ended the connection", t.base)
}

// notice is the data of an event of the stream.
type notice struct {
	ClientID  string    `json:"client_id"`
	MessageID string    `json:"message_id"`
	Seq       int64     `json:"seq"`
	Type      string    `json:"type"`
	At        time.Time `json:"at"`
	Run       int64     `json:"run"`
	Attempts  int       `json:"attempts"`
	State     string    `json:"state"`
	NextAt    time.Time `json:"next_at"`
	Error     string    `json:"error"`

	Count     int64 `json:"count"`     // of `missed`
	Restarted bool  `json:"restarted"` // of `missed`
}

func (t *tail) print(kind string, data []byte) error {
	var line string
	if t.json {
		text := jsontext.Value(data)
		if err := text.Compact(); err != nil || len(text) < 2 || text[0] != '{' {
			return errors.New("the stream can't be read: an event's data is no JSON object")
		}
		sep := ","
		if len(text) == 2 {
			sep = ""
		}
		name, err := jsontext.AppendQuote(nil, kind)
		if err != nil {
			return fmt.Errorf("the stream can't be read: %w", err)
		}
		line = `{"event":` + string(name) + sep + string(text[1:])
	} else {
		var n notice
		if err := jsonv2.Unmarshal(data, &n); err != nil {
			return fmt.Errorf("the stream can't be read: %w", err)
		}
		line = n.line(kind)
	}
	if _, err := fmt.Fprintln(t.out.Out, line); err != nil {
		return fmt.Errorf("%w: %w", errPrint, err)
	}
	return nil
}

// line formats a notice for people.
func (n *notice) line(kind string) string {
	if kind == "missed" {
		if n.Restarted {
			return "missed: the server can't say what happened since the connection broke"
		}
		return fmt.Sprintf("missed: %d, because they were not read in time", n.Count)
	}
	line := fmt.Sprintf("%s %-8s %d %s %s %s", at(n.At), kind, n.Seq, quoted(n.ClientID), quoted(n.MessageID), n.Type)
	if n.State != "" {
		line += " " + n.State
	}
	if n.Run > 1 {
		line += fmt.Sprintf(" run %d", n.Run)
	}
	if kind != "accepted" && n.Attempts != 1 {
		line += fmt.Sprintf(" attempts %d", n.Attempts)
	}
	if !n.NextAt.IsZero() {
		line += " next " + at(n.NextAt)
	}
	if n.Error != "" {
		line += ": " + n.Error
	}
	return printable(line)
}
