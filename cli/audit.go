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

// Audit shows what operators did.
type Audit struct {
	Client
	Page
	ClientID string `help:"Only what was done to this account." env:"INTURN_CLIENT_ID" placeholder:"ID"`
	Verb     string `help:"Only this: pause, resume, retry, skip, redrive, replay, cancel or erase." enum:"pause,resume,retry,skip,redrive,replay,cancel,erase," default:"" env:"INTURN_VERB"`
	Before   int64  `help:"Only rows with a smaller id, such as the list before ended with." default:"0" env:"INTURN_BEFORE" placeholder:"AUDIT"`
}

type audited struct {
	ID       int64          `json:"id"`
	At       time.Time      `json:"at"`
	Who      string         `json:"who"`
	Verb     string         `json:"verb"`
	ClientID string         `json:"client_id,omitzero"`
	Type     string         `json:"type,omitzero"`
	Seq      int64          `json:"seq,omitzero"`
	Run      int64          `json:"run,omitzero"`
	To       int64          `json:"to,omitzero"`
	Bulk     int64          `json:"bulk,omitzero"`
	Reason   string         `json:"reason"`
	Answer   jsontext.Value `json:"answer"`
}

// Run prints what operators did, the newest first.
func (l Audit) Run(ctx context.Context, out IO) error {
	query := url.Values{}
	for name, value := range map[string]string{"verb": l.Verb, "client_id": l.ClientID} {
		if value != "" {
			query.Set(name, value)
		}
	}
	type page struct {
		Audit []audited `json:"audit"`
		Next  int64     `json:"next,omitzero"`
	}
	list := page{Audit: []audited{}, Next: l.Before}
	err := l.Client.with(func(a *asker) error {
		for more := true; more && l.next(len(list.Audit)) > 0; more = list.Next != 0 {
			query.Set("limit", strconv.Itoa(l.next(len(list.Audit))))
			if list.Next != 0 {
				query.Set("before", strconv.FormatInt(list.Next, 10))
			}
			var p page
			if err := a.get(ctx, "/v1/audit?"+query.Encode(), &p); err != nil {
				return err
			}
			list.Audit, list.Next = append(list.Audit, p.Audit...), p.Next
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("audit: %w", err)
	case l.JSON:
		return printJSON(out.Out, list)
	case len(list.Audit) == 0:
		_, err := fmt.Fprintln(out.Err, "nothing was done")
		return err
	}
	t := newTable(out.Out, "audit", "at", "who", "verb", "client_id", "type", "seq", "reason")
	for i := range list.Audit {
		r := &list.Audit[i]
		t.row(r.ID, at(r.At), r.Who, r.Verb, r.ClientID, r.Type, seqText(r.Seq), r.Reason)
	}
	next := strconv.FormatInt(list.Next, 10)
	return errors.Join(t.end(), sayMore(out.Err, next, "--before "+next))
}
