package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Post is `inturn post`: it sends one event.
type Post struct {
	Client
	ClientID  string `arg:"" name:"client-id" help:"The account."`
	Payload   string `arg:"" help:"The payload, which is JSON; - reads it from standard input."`
	Type      string `help:"Type of the event. Without it the server takes message." env:"INTURN_TYPE"`
	DeliverAt string `name:"deliver-at" help:"The time until which the event is scheduled, as RFC 3339 has it. Default: at once." env:"INTURN_DELIVER_AT" placeholder:"TIME"`
	ID        string `name:"id" help:"The message_id, unique within the account; the same again is a repeat and runs nothing twice. Default: a random one." env:"INTURN_ID" placeholder:"ID"`
	Wait      Wait   `help:"Wait so long, at most 60s, for the event's result." default:"0s" env:"INTURN_WAIT"`
	JSON      bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// Wait is how long an answer is awaited, in whole seconds: as a duration, or as the
// number of seconds that the header Prefer takes.
type Wait int

const maxPostWait = 60 // seconds, the server's bound

// UnmarshalText reads the flag's text.
func (w *Wait) UnmarshalText(text []byte) error {
	seconds, err := strconv.Atoi(string(text))
	if err != nil {
		d, err := ParseDuration(string(text))
		if err != nil {
			return err
		}
		seconds = int((d + time.Second - 1) / time.Second)
	}
	if seconds < 0 || seconds > maxPostWait {
		return fmt.Errorf("%q is not between 0s and %ds", text, maxPostWait)
	}
	*w = Wait(seconds)
	return nil
}

// postReceipt is the answer to an event.
type postReceipt struct {
	ClientID  string         `json:"client_id"`
	MessageID string         `json:"message_id"`
	Seq       int64          `json:"seq"`
	State     string         `json:"state"`
	Duplicate bool           `json:"duplicate"`
	Result    jsontext.Value `json:"result,omitzero"`
	Error     string         `json:"error,omitzero"`
}

// Run prints the receipt. An event that ended dead is an error.
func (p Post) Run(ctx context.Context, out IO) error {
	payload, err := p.payload(os.Stdin)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	if p.ID == "" {
		p.ID = rand.Text()
	}
	var r postReceipt
	if err := p.post(ctx, payload, &r); err != nil {
		return fmt.Errorf("post: %w", err)
	}
	if p.JSON {
		err = printJSON(out.Out, r)
	} else {
		err = r.print(out.Out)
	}
	if err == nil && r.State == "dead" {
		err = fmt.Errorf("post: the event was taken, and ended dead: %s", r.Error)
	}
	return err
}

// payload returns the argument, or what it stands for.
func (p Post) payload(stdin io.Reader) (jsontext.Value, error) {
	payload := jsontext.Value(p.Payload)
	if p.Payload == "-" {
		text, err := io.ReadAll(io.LimitReader(stdin, maxLine+1))
		if err != nil {
			return nil, err
		}
		if len(text) > maxLine {
			return nil, fmt.Errorf("the payload is longer than %s", iec(maxLine))
		}
		payload = text
	}
	if err := checkPayload(payload); errors.Is(err, jsontext.ErrDuplicateName) {
		return nil, fmt.Errorf("the %w", err)
	} else if err != nil {
		return nil, &Hint{
			Err:  fmt.Errorf("the %w", err),
			Hint: `quote it for the shell: '{"phone":"+70000000001","text":"hello"}'; a text is JSON in double quotes: '"hello"'`,
		}
	}
	return payload, nil
}

func (p Post) post(ctx context.Context, payload jsontext.Value, r *postReceipt) error {
	body, err := jsonv2.Marshal(struct {
		ClientID  string         `json:"client_id"`
		MessageID string         `json:"message_id"`
		Type      string         `json:"type,omitzero"`
		Payload   jsontext.Value `json:"payload"`
		DeliverAt string         `json:"deliver_at,omitzero"`
	}{p.ClientID, p.ID, p.Type, payload, p.DeliverAt})
	if err != nil {
		return err
	}
	header := http.Header{}
	if p.Wait > 0 {
		header.Set("Prefer", "wait="+strconv.Itoa(int(p.Wait)))
	}
	err = p.Client.with(func(a *asker) error {
		return a.ask(ctx, http.MethodPost, "/v1/events", header, body, r)
	})
	if err != nil && mayHaveBegun(err) {
		err = &Hint{Err: err, Hint: "it may have been taken: the same command with --id " + quoted(p.ID) + " sends it again, and nothing runs twice"}
	}
	return err
}

func (r *postReceipt) print(w io.Writer) error {
	f := newFacts(w)
	f.add("client_id", r.ClientID)
	f.add("message_id", r.MessageID)
	f.add("seq", r.Seq)
	f.add("state", r.State)
	if r.Duplicate {
		f.add("duplicate", "yes, it was taken before")
	}
	f.add("result", string(r.Result))
	f.add("error", r.Error)
	return f.end()
}
