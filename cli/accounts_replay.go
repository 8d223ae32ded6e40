package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
)

// AccountsReplay is `inturn accounts replay`.
type AccountsReplay struct {
	Simple
	One
	From   int64 `help:"seq of the first event. 0: the account's first." default:"0" env:"INTURN_FROM"`
	To     int64 `help:"seq of the last event. 0: the newest that is finished." default:"0" env:"INTURN_TO"`
	All    bool  `help:"All finished events of the account, where neither --from nor --to is given." env:"INTURN_ALL"`
	DryRun bool  `help:"Count, and do nothing." env:"INTURN_DRY_RUN"`
}

// Validate returns an error if the arguments don't belong together. kong calls it.
func (r AccountsReplay) Validate() error {
	bounded := r.From != 0 || r.To != 0
	switch {
	case r.From < 0 || r.To < 0 || r.To != 0 && r.To < r.From:
		return errors.New("--from and --to are seqs, the first and the last: --to must not be less")
	case r.All && bounded:
		return errors.New("say --all, or bound it with --from and --to")
	}
	return nil
}

// Run returns once the replay is noted; the events run in their turn. That all events
// of the account are meant must be said: without it they are counted.
func (r AccountsReplay) Run(ctx context.Context, out IO) error {
	return named("accounts replay", r.Client.with(func(a *asker) error { return r.run(ctx, out, a) }))
}

func (r AccountsReplay) run(ctx context.Context, out IO, a *asker) error {
	unbounded := !r.All && r.From == 0 && r.To == 0
	if unbounded || r.DryRun {
		n, err := r.count(ctx, a)
		switch {
		case err != nil:
			return err
		case unbounded && !r.DryRun:
			return &Hint{
				Err:  fmt.Errorf("nothing was done: %d finished events of %s would run again", n, r.ClientID),
				Hint: "say --all if that is meant, or bound it with --from and --to (`inturn events list --client " + quoted(r.ClientID) + "` shows the seqs)",
			}
		case r.JSON:
			return printJSON(out.Out, bulked{Verb: "replay", DryRun: true, Count: n})
		}
		_, err = fmt.Fprintf(out.Out, "would replay: %d events\n", n)
		return err
	}
	body := struct {
		From   int64  `json:"from,omitzero"`
		To     int64  `json:"to,omitzero"`
		Reason string `json:"reason,omitzero"`
	}{r.From, r.To, r.Reason.Reason}
	var answer acted
	if err := a.post(ctx, accountPath(r.ClientID, "/replay"), "", body, &answer); err != nil {
		return err
	}
	return answer.print(out.Out, r.JSON, fmt.Sprintf("%s seq %d to %d, %d events", r.ClientID, answer.Seq, answer.To, answer.Events))
}

// count returns how many events would run again. An account that isn't there is an error.
func (r AccountsReplay) count(ctx context.Context, a *asker) (n int64, err error) {
	if err := a.get(ctx, accountPath(r.ClientID, ""), new(account)); err != nil {
		return 0, err
	}
	query := url.Values{"client_id": {r.ClientID}, "limit": {strconv.Itoa(maxPageLimit)}}
	for after := max(r.From-1, 0); ; {
		query.Set("after", strconv.FormatInt(after, 10))
		var p eventPage
		if err := a.get(ctx, "/v1/events?"+query.Encode(), &p); err != nil {
			return 0, err
		}
		for _, e := range p.Events {
			switch {
			case r.To != 0 && e.Seq > r.To:
				return n, nil
			case e.State != "pending":
				n++
			}
		}
		if after = p.Next; after == 0 {
			return n, nil
		}
	}
}
