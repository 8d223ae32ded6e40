package cli

import (
	"context"
	"errors"
	"net/http"
)

// Cancel is `inturn cancel`.
type Cancel struct {
	Client
	Reason
	ClientID  string `arg:"" name:"client-id" help:"The account."`
	MessageID string `arg:"" name:"message-id" help:"The event's message_id."`
	JSON      bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// Run sets an event that is pending aside as dead, wherever in its account it stands.
func (c Cancel) Run(ctx context.Context, out IO) error {
	err := c.Client.with(func(a *asker) error {
		var answer acted
		err := a.send(ctx, http.MethodDelete, eventPath(c.ClientID, c.MessageID), "", reasonBody{c.Reason.Reason}, &answer)
		if r, ok := errors.AsType[*refused](err); ok && r.name == "too-late" {
			return &Hint{Err: err, Hint: "what became of it: `inturn events show " + quoted(c.ClientID) + " " + quoted(c.MessageID) + "`"}
		}
		if err != nil {
			return err
		}
		return answer.print(out.Out, c.JSON, c.ClientID+" "+c.MessageID)
	})
	return named("cancel", err)
}
