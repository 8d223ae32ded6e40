package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Pause is `inturn pause`: of a type, or of everything.
type Pause struct {
	Simple
	Type string `arg:"" optional:"" help:"The type to pause, such as message."`
	All  bool   `help:"Pause everything: no event of any type is begun." env:"INTURN_ALL"`
}

// Validate returns an error unless either a type or everything is named; kong calls it.
func (p Pause) Validate() error { return oneOrAll(p.Type, p.All) }

// Run returns once no further event of it is begun. Events that run end as usual.
func (p Pause) Run(ctx context.Context, out IO) error {
	return p.onType(ctx, out, "pause", p.Type)
}

// Resume is `inturn resume`: of a type, or of everything.
type Resume struct {
	Simple
	Type string `arg:"" optional:"" help:"The type to resume, such as message. An account that is paused by itself stays so."`
	All  bool   `help:"End the pause of everything. Types and accounts that are paused by themselves stay so." env:"INTURN_ALL"`
}

// Validate returns an error unless either a type or everything is named; kong calls it.
func (r Resume) Validate() error { return oneOrAll(r.Type, r.All) }

// Run returns once its events may begin again.
func (r Resume) Run(ctx context.Context, out IO) error {
	return r.onType(ctx, out, "resume", r.Type)
}

func oneOrAll(name string, all bool) error {
	if all == (name != "") {
		return errors.New("name a type, or say --all for everything")
	}
	return nil
}

// onType does verb to a type, or to everything where name is "".
func (s Simple) onType(ctx context.Context, out IO, verb, name string) error {
	path, what := "/v1/"+verb, "everything"
	if name != "" {
		path, what = "/v1/types/"+url.PathEscape(name)+"/"+verb, "type "+name
	}
	return named(verb, s.Client.with(func(a *asker) error {
		var answer acted
		err := a.post(ctx, path, "", reasonBody{s.Reason.Reason}, &answer)
		if r, ok := errors.AsType[*refused](err); name != "" && (err == nil && !answer.Changed || ok && r.status == http.StatusNotFound) {
			if unknown := a.unknownType(ctx, name); unknown != nil {
				return unknown
			}
		}
		if err != nil {
			return err
		}
		return answer.print(out.Out, s.JSON, what)
	}))
}

// Types is `inturn types`.
type Types struct {
	Client
	JSON bool `help:"Print JSON." env:"INTURN_JSON"`
}

type pause struct {
	Paused bool      `json:"paused"`
	Since  time.Time `json:"since,omitzero"`
	Who    string    `json:"who,omitzero"`
	Reason string    `json:"reason,omitzero"`
}

// Run prints the types and what is paused; everything is the first line.
func (l Types) Run(ctx context.Context, out IO) error {
	var list struct {
		pause
		Types []struct {
			Type string `json:"type"`
			pause
			Payload  *schema `json:"payload,omitempty"`
			Function *bool   `json:"function,omitempty"` // nil: it has one
			Waiting  int     `json:"waiting,omitempty"`
		} `json:"types"`
	}
	if err := l.Client.with(func(a *asker) error { return a.get(ctx, "/v1/types", &list) }); err != nil {
		return fmt.Errorf("types: %w", err)
	}
	if l.JSON {
		return printJSON(out.Out, list)
	}
	t := newTable(out.Out, "type", "paused", "since", "who", "reason", "payload")
	add := func(name string, p pause, payload *schema) {
		paused := "no"
		if p.Paused {
			paused = "yes"
		}
		t.row(name, paused, at(p.Since), p.Who, p.Reason, payload.String())
	}
	add("(everything)", list.pause, nil)
	for _, one := range list.Types {
		if one.Function != nil && !*one.Function {
			one.Reason = strings.TrimPrefix(fmt.Sprintf("%s; no function: %d accounts wait", one.Reason, one.Waiting), "; ")
		}
		add(one.Type, one.pause, one.Payload)
	}
	return t.end()
}
