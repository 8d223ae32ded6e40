package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Events holds the commands that look at events in any state.
type Events struct {
	List EventsList `cmd:"" help:"List events in the order of acceptance, or the newest first."`
	Show EventsShow `cmd:"" help:"Show one event, with its payload and its result."`
	Tail EventsTail `cmd:"" help:"Follow what is accepted, settled, retried and parked, a line each."`
}

// event is an event as the API shows it.
type event struct {
	ClientID   string         `json:"client_id"`
	MessageID  string         `json:"message_id"`
	Seq        int64          `json:"seq"`
	State      string         `json:"state"`
	Type       string         `json:"type"`
	Payload    jsontext.Value `json:"payload"`
	Attrs      jsontext.Value `json:"attrs,omitzero"`
	RequestID  string         `json:"request_id"`
	ReceivedAt time.Time      `json:"received_at"`
	Run        int64          `json:"run"`
	Attempts   int            `json:"attempts"`
	StartedAt  time.Time      `json:"started_at"`
	FinishedAt time.Time      `json:"finished_at"`
	Result     jsontext.Value `json:"result"`
	Error      string         `json:"error,omitzero"`
}

// addTo adds what is known of the event.
func (e *event) addTo(f *facts) {
	f.add("client_id", e.ClientID)
	f.add("message_id", e.MessageID)
	f.add("seq", e.Seq)
	f.add("state", e.State)
	f.add("type", e.Type)
	f.add("payload", string(e.Payload))
	f.add("attrs", string(e.Attrs))
	f.add("request_id", e.RequestID)
	f.add("received_at", at(e.ReceivedAt))
	f.add("run", seqText(e.Run))
	f.add("attempts", seqText(int64(e.Attempts)))
	f.add("started_at", at(e.StartedAt))
	f.add("finished_at", at(e.FinishedAt))
	if e.State == "done" {
		f.add("result", string(e.Result))
	}
	f.add("error", e.Error)
}

// EventsList is `inturn events list`.
type EventsList struct {
	Client
	Page
	ClientID  string `name:"client" aliases:"client-id" help:"Only those of this client_id." env:"INTURN_CLIENT_ID" placeholder:"ID"`
	Type      string `help:"Only those of this type." env:"INTURN_TYPE"`
	State     string `help:"Only those in this state: scheduled, pending, done or dead." enum:"scheduled,pending,done,dead," default:"" env:"INTURN_STATE" placeholder:"STATE"`
	Since     string `help:"Only those that were accepted at this time or later: 2026-01-31T12:00:00Z, or how long ago, such as 90m or 7d." env:"INTURN_SINCE" placeholder:"TIME"`
	Until     string `help:"Only those that were accepted before this time, which is given as --since is." env:"INTURN_UNTIL" placeholder:"TIME"`
	RequestID string `help:"Only those that the request with this id brought (X-Request-ID)." env:"INTURN_REQUEST_ID" placeholder:"ID"`
	Newest    bool   `help:"The newest first." env:"INTURN_NEWEST"`
	After     int64  `help:"Only those with a greater seq, such as the list before ended with; with --newest, with a smaller one." default:"0" env:"INTURN_AFTER" placeholder:"SEQ"`
}

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (l EventsList) Validate() error {
	_, err := l.query(time.Now())
	return errors.Join(l.Page.Validate(), err)
}

// query returns the parameters of GET /v1/events that the flags are, without those of paging.
// Times that are counted back are so from now.
func (l EventsList) query(now time.Time) (url.Values, error) {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("client_id", l.ClientID)
	set("type", l.Type)
	set("state", l.State)
	set("request_id", l.RequestID)
	if l.Newest {
		set("order", "desc")
	}
	for name, value := range map[string]string{"since": l.Since, "until": l.Until} {
		t, err := timeFlag("--"+name, value, now)
		if err != nil {
			return nil, err
		}
		if !t.IsZero() {
			set(name, t.Format(time.RFC3339Nano))
		}
	}
	return query, nil
}

// Run prints the events in the order of seq, or in the reverse of it.
func (l EventsList) Run(ctx context.Context, out IO) error {
	query, err := l.query(time.Now())
	if err != nil {
		return fmt.Errorf("events list: %w", err)
	}
	// As the server gives each, so that JSON has all of it.
	type page struct {
		Events []jsontext.Value `json:"events"`
		Next   int64            `json:"next,omitzero"`
	}
	list := page{Events: []jsontext.Value{}, Next: l.After}
	var unknown error
	err = l.Client.with(func(a *asker) error {
		for more := true; more && l.next(len(list.Events)) > 0; more = list.Next != 0 {
			query.Set("limit", strconv.Itoa(l.next(len(list.Events))))
			query.Set("after", strconv.FormatInt(list.Next, 10))
			var p page
			if err := a.get(ctx, "/v1/events?"+query.Encode(), &p); err != nil {
				return err
			}
			list.Events, list.Next = append(list.Events, p.Events...), p.Next
		}
		if len(list.Events) == 0 {
			unknown = a.unknown(ctx, l.Type, l.ClientID)
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("events list: %w", err)
	case l.JSON:
		return printJSON(out.Out, list)
	case len(list.Events) == 0:
		return sayNone(out.Err, "no such events", unknown)
	}
	t := newTable(out.Out, "seq", "client_id", "message_id", "type", "state", "received_at", "finished_at", "error")
	for _, text := range list.Events {
		var e event
		if err := jsonv2.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("events list: the answer can't be read: %w", err)
		}
		t.row(e.Seq, e.ClientID, e.MessageID, e.Type, e.State, at(e.ReceivedAt), at(e.FinishedAt), e.Error)
	}
	next := strconv.FormatInt(list.Next, 10)
	more := "--after " + next
	if l.Newest {
		more = "--newest " + more
	}
	return errors.Join(t.end(), sayMore(out.Err, next, more))
}

// EventsShow is `inturn events show`.
type EventsShow struct {
	Client
	One
	MessageID string `arg:"" name:"message-id" help:"The event's id within the account."`
	JSON      bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// Run prints the event.
func (s EventsShow) Run(ctx context.Context, out IO) error {
	var text jsontext.Value
	err := s.Client.with(func(a *asker) error { return a.get(ctx, eventPath(s.ClientID, s.MessageID), &text) })
	if err != nil {
		return fmt.Errorf("events show: %w", err)
	}
	if s.JSON {
		return printJSON(out.Out, text)
	}
	var e event
	if err := jsonv2.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("events show: the answer can't be read: %w", err)
	}
	f := newFacts(out.Out)
	e.addTo(f)
	return f.end()
}

func eventPath(clientID, messageID string) string {
	return "/v1/events/" + url.PathEscape(clientID) + "/" + url.PathEscape(messageID)
}
