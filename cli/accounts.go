package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"
)

// Accounts has the commands that show and change accounts.
type Accounts struct {
	List   AccountsList   `cmd:"" help:"List accounts, such as those that are parked."`
	Show   AccountsShow   `cmd:"" help:"Show one account and what holds it."`
	Pause  AccountsPause  `cmd:"" help:"Begin no event of an account until it is resumed; its events are still accepted."`
	Resume AccountsResume `cmd:"" help:"Let a paused account go on."`
	Retry  AccountsRetry  `cmd:"" help:"Run the event that holds an account again now, or those of all parked accounts."`
	Skip   AccountsSkip   `cmd:"" help:"Set the event that holds an account aside as dead and go on, or those of all parked accounts."`
	Replay AccountsReplay `cmd:"" help:"Run an account's finished events again, before what is pending."`
	Erase  AccountsErase  `cmd:"" help:"Delete everything of an account, for good."`
}

// account is an account as the API shows it.
type account struct {
	ClientID  string    `json:"client_id"`
	State     string    `json:"state"`
	Paused    bool      `json:"paused"`
	Replaying bool      `json:"replaying"`
	Pending   int       `json:"pending"`
	Attempts  int       `json:"attempts"`
	HeadSeq   int64     `json:"head_seq,omitzero"`
	NextAt    time.Time `json:"next_at,omitzero"`
	LastError string    `json:"last_error,omitzero"`
}

// doing describes the account's state for people.
func (a *account) doing() string {
	state := a.State
	if a.Paused {
		state += ", paused"
	}
	if a.Replaying {
		state += ", replaying"
	}
	return state
}

// Page holds the flags of a listing.
type Page struct {
	Limit int  `help:"Stop after so many." default:"100" env:"INTURN_LIMIT"`
	JSON  bool `help:"Print JSON." env:"INTURN_JSON"`
}

// maxPageLimit is the most that the API gives in one answer.
const maxPageLimit = 1000

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (p Page) Validate() error {
	if p.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	return nil
}

// next returns the limit of the next request when there are have rows, 0 for no further one.
func (p Page) next(have int) int { return min(p.Limit-have, maxPageLimit) }

// AccountsList is `inturn accounts list`.
type AccountsList struct {
	Client
	Page
	State  string `help:"Only those that do this now: idle, ready, running, retrying, parked or stuck." enum:"idle,ready,running,retrying,parked,stuck," default:"" env:"INTURN_STATE" placeholder:"STATE"`
	Paused *bool  `help:"Only those that are paused, or with --no-paused only those that are not." negatable:"" env:"INTURN_PAUSED"`
	Sort   string `help:"Their order: client_id, pending (the most pending events first) or oldest (the oldest pending event first). With the last two the list ends at --limit, and has what it finds among the first thousand." enum:"client_id,pending,oldest" default:"client_id" env:"INTURN_SORT" placeholder:"ORDER"`
	After  string `help:"Only those with a greater client_id, such as the list before ended with." env:"INTURN_AFTER" placeholder:"ID"`
}

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (l AccountsList) Validate() error {
	switch sorted := l.Sort != "client_id"; {
	case sorted && l.After != "":
		return errors.New("--after is for the order of client_id: leave it out, or --sort")
	case sorted && l.Limit > maxPageLimit:
		return fmt.Errorf("--limit must be at most %d with --sort", maxPageLimit)
	}
	return l.Page.Validate()
}

// Run prints the accounts in the order of client_id, or of --sort.
func (l AccountsList) Run(ctx context.Context, out IO) error {
	query := url.Values{}
	if l.State != "" {
		query.Set("state", l.State)
	}
	if l.Paused != nil {
		query.Set("paused", strconv.FormatBool(*l.Paused))
	}
	if l.Sort != "client_id" {
		query.Set("sort", l.Sort)
	}
	type page struct {
		Accounts []account `json:"accounts"`
		Next     string    `json:"next,omitzero"`
	}
	list := page{Accounts: []account{}, Next: l.After}
	err := l.Client.with(func(a *asker) error {
		for more := true; more && l.next(len(list.Accounts)) > 0; more = list.Next != "" {
			query.Set("limit", strconv.Itoa(l.next(len(list.Accounts))))
			if l.Sort == "client_id" {
				query.Set("after", list.Next)
			}
			var p page
			if err := a.get(ctx, "/v1/accounts?"+query.Encode(), &p); err != nil {
				return err
			}
			list.Accounts, list.Next = append(list.Accounts, p.Accounts...), p.Next
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("accounts list: %w", err)
	case l.JSON:
		return printJSON(out.Out, list)
	case len(list.Accounts) == 0:
		_, err := fmt.Fprintln(out.Err, "no such accounts")
		return err
	}
	t := newTable(out.Out, "client_id", "state", "pending", "head_seq", "attempts", "next_at", "last_error")
	for i := range list.Accounts {
		a := &list.Accounts[i]
		t.row(a.ClientID, a.doing(), a.Pending, seqText(a.HeadSeq), a.Attempts, at(a.NextAt), a.LastError)
	}
	return errors.Join(t.end(), sayMore(out.Err, list.Next, "--after "+quoted(list.Next)))
}

// sayMore prints that a listing goes on, and the flag that continues it.
func sayMore(w io.Writer, next, flag string) error {
	if next == "" || next == "0" {
		return nil
	}
	_, err := fmt.Fprintln(w, "there may be more: go on with "+flag)
	return err
}

// One is the argument of a command on one account.
type One struct {
	ClientID string `arg:"" name:"client-id" help:"The account."`
}

// AccountsShow is `inturn accounts show`.
type AccountsShow struct {
	Client
	One
	JSON bool `help:"Print JSON." env:"INTURN_JSON"`
}

// Run prints the account.
func (s AccountsShow) Run(ctx context.Context, out IO) error {
	var a account
	err := s.Client.with(func(ask *asker) error { return ask.get(ctx, accountPath(s.ClientID, ""), &a) })
	if err != nil {
		return fmt.Errorf("accounts show: %w", err)
	}
	if s.JSON {
		return printJSON(out.Out, a)
	}
	f := newFacts(out.Out)
	f.add("client_id", a.ClientID)
	f.add("state", a.doing())
	f.add("pending", a.Pending)
	f.add("head_seq", seqText(a.HeadSeq))
	f.add("attempts", a.Attempts)
	f.add("next_at", at(a.NextAt))
	f.add("last_error", a.LastError)
	return f.end()
}

// Simple holds the flags of a verb on one account that takes a reason and nothing else.
type Simple struct {
	Client
	Reason
	JSON bool `help:"Print JSON." env:"INTURN_JSON"`
}

// AccountsPause is `inturn accounts pause`.
type AccountsPause struct {
	Simple
	One
}

// Run returns once no further event of the account is begun. One that runs ends as usual.
func (p AccountsPause) Run(ctx context.Context, out IO) error {
	return named("accounts pause", p.act(ctx, out, p.JSON, accountPath(p.ClientID, "/pause"), reasonBody{p.Reason.Reason}, p.ClientID))
}

// AccountsResume is `inturn accounts resume`.
type AccountsResume struct {
	Simple
	One
}

// Run returns once the account's events may begin again.
func (p AccountsResume) Run(ctx context.Context, out IO) error {
	return named("accounts resume", p.act(ctx, out, p.JSON, accountPath(p.ClientID, "/resume"), reasonBody{p.Reason.Reason}, p.ClientID))
}

type reasonBody struct {
	Reason string `json:"reason,omitzero"`
}

// named puts the command's name before err; nil stays nil.
func named(command string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// Head holds the flags of a verb on the event that holds an account.
type Head struct {
	Client
	Many
	Reason
	ClientID string `arg:"" optional:"" name:"client-id" help:"The account."`
	Seq      int64  `help:"The event that must be the head. Without it the head is looked up." env:"INTURN_SEQ" placeholder:"SEQ"`
	JSON     bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// Validate returns an error if the arguments don't belong together. kong calls it.
func (h Head) Validate() error {
	if h.Seq < 0 || h.Seq != 0 && h.ClientID == "" {
		return errors.New("--seq is the number of an event of the account that is named")
	}
	return h.one(h.ClientID != "", "an account")
}

// run does verb to the account's head, which the request names: if the head is another
// event by then, the server refuses and nothing is done.
func (h Head) run(ctx context.Context, out IO, verb string) error {
	if h.ClientID == "" {
		return h.Many.run(ctx, h.Client, out, h.JSON, "/v1/accounts/"+verb, bulkBody{Reason: h.Reason.Reason}, "accounts")
	}
	return h.Client.with(func(a *asker) error {
		if h.Seq == 0 {
			var found account
			if err := a.get(ctx, accountPath(h.ClientID, ""), &found); err != nil {
				return err
			}
			if h.Seq = found.HeadSeq; h.Seq == 0 {
				return &Hint{Err: fmt.Errorf("nothing of %s is pending", h.ClientID), Hint: "events that were set aside are listed by `inturn dead list`"}
			}
		}
		body := struct {
			Seq    int64  `json:"seq"`
			Reason string `json:"reason,omitzero"`
		}{h.Seq, h.Reason.Reason}
		var answer acted
		err := a.post(ctx, accountPath(h.ClientID, "/"+verb), "", body, &answer)
		if r, ok := errors.AsType[*refused](err); ok && r.name == "head-moved" && r.seq != 0 {
			return &Hint{Err: err, Hint: fmt.Sprintf("look at it first: `inturn accounts show %s`; then --seq %d", quoted(h.ClientID), r.seq)}
		}
		if err != nil {
			return err
		}
		return answer.print(out.Out, h.JSON, fmt.Sprintf("%s seq %d", h.ClientID, h.Seq))
	})
}

// AccountsRetry is `inturn accounts retry`.
type AccountsRetry struct{ Head }

// Run makes the head due now, with all its attempts.
func (r AccountsRetry) Run(ctx context.Context, out IO) error {
	return named("accounts retry", r.Head.run(ctx, out, "retry"))
}

// AccountsSkip is `inturn accounts skip`.
type AccountsSkip struct{ Head }

// Run sets the head aside as dead.
func (s AccountsSkip) Run(ctx context.Context, out IO) error {
	return named("accounts skip", s.Head.run(ctx, out, "skip"))
}
