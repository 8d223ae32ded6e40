package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Dead holds the commands for events that were set aside.
type Dead struct {
	List    DeadList    `cmd:"" help:"List the events that were set aside."`
	Show    DeadShow    `cmd:"" help:"Show one of them, with its payload and its earlier runs."`
	Redrive DeadRedrive `cmd:"" help:"Run one of them again, at the end of its account, or many."`
}

// Since is the flag that bounds a selection in time.
type Since struct {
	Since string `help:"Only those that were set aside at this time or later: 2026-01-31T12:00:00Z, or how long ago, such as 90m or 7d." env:"INTURN_SINCE" placeholder:"TIME"`
}

// time returns the flag's time, counted back from now where it is a duration; zero for none.
func (s Since) time(now time.Time) (time.Time, error) { return timeFlag("--since", s.Since, now) }

// timeFlag returns the time that the flag name has as its value, counted back from now where
// that is a duration; zero for "".
func timeFlag(name, value string, now time.Time) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	if ago, err := ParseDuration(value); err == nil && ago >= 0 {
		return now.Add(-ago).UTC().Truncate(time.Microsecond), nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return t, fmt.Errorf("%s %q: must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as 90m or 7d", name, value)
	}
	return t.UTC(), nil
}

// Validate returns an error if the flag is no time. kong calls it.
func (s Since) Validate() error {
	_, err := s.time(time.Now())
	return err
}

// DeadList is `inturn dead list`.
type DeadList struct {
	Client
	Page
	Since
	Type     string `help:"Only those of this type." env:"INTURN_TYPE"`
	ClientID string `help:"Only those of this account." env:"INTURN_CLIENT_ID" placeholder:"ID"`
	After    int64  `help:"Only those with a greater seq, such as the list before ended with." default:"0" env:"INTURN_AFTER" placeholder:"SEQ"`
}

// Run prints dead events in the order of seq.
func (l DeadList) Run(ctx context.Context, out IO) error {
	since, err := l.Since.time(time.Now())
	if err != nil {
		return fmt.Errorf("dead list: %w", err)
	}
	query := url.Values{}
	for name, value := range map[string]string{"type": l.Type, "client_id": l.ClientID} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if !since.IsZero() {
		query.Set("since", since.Format(time.RFC3339Nano))
	}
	list := deadPage{Dead: []event{}, Next: l.After}
	var unknown error
	err = l.Client.with(func(a *asker) error {
		for more := true; more && l.next(len(list.Dead)) > 0; more = list.Next != 0 {
			query.Set("limit", strconv.Itoa(l.next(len(list.Dead))))
			query.Set("after", strconv.FormatInt(list.Next, 10))
			var p deadPage
			if err := a.get(ctx, "/v1/dead?"+query.Encode(), &p); err != nil {
				return err
			}
			list.Dead, list.Next = append(list.Dead, p.Dead...), p.Next
		}
		if len(list.Dead) == 0 {
			unknown = a.unknown(ctx, l.Type, l.ClientID)
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("dead list: %w", err)
	case l.JSON:
		return printJSON(out.Out, list)
	case len(list.Dead) == 0:
		return sayNone(out.Err, "no dead events", unknown)
	}
	t := newTable(out.Out, "seq", "run", "client_id", "message_id", "type", "attempts", "finished_at", "error")
	for i := range list.Dead {
		e := &list.Dead[i]
		t.row(e.Seq, e.Run, e.ClientID, e.MessageID, e.Type, e.Attempts, at(e.FinishedAt), e.Error)
	}
	next := strconv.FormatInt(list.Next, 10)
	return errors.Join(t.end(), sayMore(out.Err, next, "--after "+next))
}

type deadPage struct {
	Dead []event `json:"dead"`
	Next int64   `json:"next,omitzero"`
}

// dead finds a dead event by its seq.
func (a *asker) dead(ctx context.Context, seq int64) (event, error) {
	var p deadPage
	if err := a.get(ctx, fmt.Sprintf("/v1/dead?after=%d&limit=1", seq-1), &p); err != nil {
		return event{}, err
	}
	if len(p.Dead) == 0 || p.Dead[0].Seq != seq {
		return event{}, &Hint{Err: fmt.Errorf("seq %d is not a dead event", seq), Hint: "`inturn dead list` lists them"}
	}
	return p.Dead[0], nil
}

// Seq is the argument of a command on one event.
type Seq struct {
	Seq int64 `arg:"" help:"The event's seq."`
}

// Validate returns an error if the argument is no seq. kong calls it.
func (s Seq) Validate() error {
	if s.Seq < 1 {
		return errors.New("a seq is 1 or more")
	}
	return nil
}

// DeadShow is `inturn dead show`.
type DeadShow struct {
	Client
	Seq
	JSON bool `help:"Print JSON." env:"INTURN_JSON"`
}

// pastRun is an earlier run of an event.
type pastRun struct {
	State      string         `json:"state"`
	Run        int64          `json:"run"`
	Attempts   int            `json:"attempts"`
	StartedAt  time.Time      `json:"started_at"`
	FinishedAt time.Time      `json:"finished_at"`
	Result     jsontext.Value `json:"result"`
	Error      string         `json:"error,omitzero"`
}

// Run prints the event and its earlier runs.
func (s DeadShow) Run(ctx context.Context, out IO) error {
	var shown struct {
		event
		Runs []pastRun `json:"runs"`
	}
	err := s.Client.with(func(a *asker) (err error) {
		if shown.event, err = a.dead(ctx, s.Seq.Seq); err != nil {
			return err
		}
		return a.get(ctx, "/v1/events/"+url.PathEscape(shown.ClientID)+"/"+url.PathEscape(shown.MessageID)+"/runs", &shown)
	})
	if err != nil {
		return fmt.Errorf("dead show: %w", err)
	}
	if s.JSON {
		return printJSON(out.Out, shown)
	}
	f := newFacts(out.Out)
	shown.event.addTo(f)
	for _, r := range shown.Runs {
		text := r.State
		if r.Error != "" {
			text += ": " + r.Error
		}
		f.add(fmt.Sprint("run ", r.Run), at(r.FinishedAt)+" "+text)
	}
	return f.end()
}

// DeadRedrive is `inturn dead redrive`.
type DeadRedrive struct {
	Client
	Many
	Since
	Reason
	Seq      int64  `arg:"" optional:"" help:"The event's seq."`
	ClientID string `help:"With --all: only those of this account." env:"INTURN_CLIENT_ID" placeholder:"ID"`
	JSON     bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// Validate returns an error if the arguments don't belong together. kong calls it.
func (r DeadRedrive) Validate() error {
	if r.Seq < 0 || r.Seq != 0 && (r.Since.Since != "" || r.ClientID != "") {
		return errors.New("name the seq of an event, or say --all: --since and --client-id belong to --all")
	}
	return errors.Join(r.Since.Validate(), r.one(r.Seq != 0, "the seq of an event"))
}

// Run names the run that ended dead, so that two operators redrive it once.
func (r DeadRedrive) Run(ctx context.Context, out IO) error {
	since, err := r.Since.time(time.Now())
	if err != nil {
		return fmt.Errorf("dead redrive: %w", err)
	}
	if r.Seq == 0 {
		return named("dead redrive", r.Many.run(ctx, r.Client, out, r.JSON, "/v1/dead/redrive",
			bulkBody{ClientID: r.ClientID, Since: since, Reason: r.Reason.Reason}, "events"))
	}
	err = r.Client.with(func(a *asker) error {
		found, err := a.dead(ctx, r.Seq)
		if err != nil {
			return err
		}
		body := struct {
			Seq    int64  `json:"seq"`
			Run    int64  `json:"run"`
			Reason string `json:"reason,omitzero"`
		}{r.Seq, found.Run, r.Reason.Reason}
		var answer acted
		if err := a.post(ctx, "/v1/dead/redrive", "", body, &answer); err != nil {
			return err
		}
		return answer.print(out.Out, r.JSON, fmt.Sprintf("seq %d, run %d", r.Seq, answer.Run))
	})
	return named("dead redrive", err)
}
