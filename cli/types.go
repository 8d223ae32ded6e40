package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Pause is `inturn pause`: of a type, or of everything.
type Pause struct{ pauseFlags }

// Resume is `inturn resume`.
type Resume struct{ pauseFlags }

type pauseFlags struct {
	Simple
	Type string `arg:"" optional:"" help:"A type, such as message."`
	All  bool   `help:"Everything: no event of any type is begun." env:"INTURN_ALL"`
}

// Validate says what is wrong with the arguments; kong calls it. That everything is
// meant must be said.
func (p pauseFlags) Validate() error {
	if p.All == (p.Type != "") {
		return errors.New("name a type, or say --all for everything")
	}
	return nil
}

func (p pauseFlags) run(ctx context.Context, out IO, verb string) error {
	path, what := "/v1/"+verb, "everything"
	if p.Type != "" {
		path, what = "/v1/types/"+url.PathEscape(p.Type)+"/"+verb, "type "+p.Type
	}
	return named(verb, p.act(ctx, out, p.JSON, path, reasonBody{p.Reason.Reason}, what))
}

// Run returns once nothing of it is begun any more; what runs, ends.
func (p Pause) Run(ctx context.Context, out IO) error { return p.run(ctx, out, "pause") }

// Run lets it go on.
func (r Resume) Run(ctx context.Context, out IO) error { return r.run(ctx, out, "resume") }

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
		} `json:"types"`
	}
	if err := l.Client.with(func(a *asker) error { return a.get(ctx, "/v1/types", &list) }); err != nil {
		return fmt.Errorf("types: %w", err)
	}
	if l.JSON {
		return printJSON(out.Out, list)
	}
	t := newTable(out.Out, "type", "paused", "since", "who", "reason")
	add := func(name string, p pause) {
		paused := "no"
		if p.Paused {
			paused = "yes"
		}
		t.row(name, paused, at(p.Since), p.Who, p.Reason)
	}
	add("(everything)", list.pause)
	for _, one := range list.Types {
		add(one.Type, one.pause)
	}
	return t.end()
}
