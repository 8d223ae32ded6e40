package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Reason is the flag that says why, for the audit.
type Reason struct {
	Reason string `help:"Why, for the audit." env:"INTURN_REASON" placeholder:"TEXT"`
}

// acted is the server's answer to a verb.
type acted struct {
	Verb      string    `json:"verb"`
	Changed   bool      `json:"changed"`
	Duplicate bool      `json:"duplicate"`
	Audit     int64     `json:"audit"`
	At        time.Time `json:"at"`
	Type      string    `json:"type,omitzero"`
	Seq       int64     `json:"seq,omitzero"`
	Run       int64     `json:"run,omitzero"`
	State     string    `json:"state,omitzero"`
	To        int64     `json:"to,omitzero"`
	Events    int64     `json:"events,omitzero"`
	Account   *account  `json:"account,omitzero"`
}

// print prints a line with what was done and a line with the account's state now.
func (a *acted) print(w io.Writer, asJSON bool, what string) error {
	if asJSON {
		return printJSON(w, a)
	}
	done := "done"
	if !a.Changed {
		done = "done already, nothing changed"
	}
	if _, err := fmt.Fprintf(w, "%s %s: %s (audit %d)\n", a.Verb, printable(what), done, a.Audit); err != nil {
		return err
	}
	if a.Account == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "account %s: %s, %d pending\n", printable(a.Account.ClientID), a.Account.doing(), a.Account.Pending)
	return err
}

// with calls f with an asker for the server of c, and closes it.
func (c Client) with(f func(*asker) error) error {
	a, err := c.asker()
	if err != nil {
		return &notAsked{err}
	}
	defer a.close()
	return f(a)
}

// notAsked is the error of a Client whose flags are wrong: no request was made.
type notAsked struct{ error }

func (e *notAsked) Unwrap() error { return e.error }

// act posts body and prints the answer. what is the name, for people, of the thing that
// was acted on.
func (c Client) act(ctx context.Context, out IO, asJSON bool, path string, body any, what string) error {
	return c.with(func(a *asker) error {
		var answer acted
		if err := a.post(ctx, path, "", body, &answer); err != nil {
			return err
		}
		return answer.print(out.Out, asJSON, what)
	})
}

func accountPath(clientID string, more string) string {
	return "/v1/accounts/" + url.PathEscape(clientID) + more
}

// Many holds the flags of a verb on many things at once.
type Many struct {
	All    bool   `help:"Every one, or with --type every one of a type." env:"INTURN_ALL"`
	Type   string `help:"With --all: only where the event has this type." env:"INTURN_TYPE"`
	DryRun bool   `help:"With --all: count, and do nothing." env:"INTURN_DRY_RUN"`
	Resume string `help:"With --all: the key that an interrupted run printed, to go on where it ended." env:"INTURN_RESUME" placeholder:"KEY"`
}

// one returns an error if flags of Many are given beside a name, or neither is given.
func (m Many) one(named bool, what string) error {
	switch {
	case named && m != (Many{}):
		return fmt.Errorf("name %s, or say --all: --type, --dry-run and --resume belong to --all", what)
	case !named && !m.All:
		return fmt.Errorf("name %s, or say --all", what)
	}
	return nil
}

// bulked is the answer to a verb on many.
type bulked struct {
	Verb      string `json:"verb"`
	DryRun    bool   `json:"dry_run"`
	Duplicate bool   `json:"duplicate"`
	Count     int64  `json:"count"`
	More      bool   `json:"more"`
	Key       string `json:"key,omitzero"`
	Audit     int64  `json:"audit,omitzero"`
}

// bulkBody selects many. The API says which of it a verb takes.
type bulkBody struct {
	All      bool      `json:"all,omitzero"`
	Type     string    `json:"type,omitzero"`
	ClientID string    `json:"client_id,omitzero"`
	Since    time.Time `json:"since,omitzero"`
	DryRun   bool      `json:"dry_run,omitzero"`
	Reason   string    `json:"reason,omitzero"`
}

// run repeats the request until the server reports that nothing is left. Where it is cut
// short it prints how to go on: with the same key nothing is done twice.
func (m Many) run(ctx context.Context, c Client, out IO, asJSON bool, path string, body bulkBody, things string) error {
	body.All, body.Type, body.DryRun = true, m.Type, m.DryRun
	key := m.Resume
	if key == "" && !m.DryRun {
		key = rand.Text()
	}
	var answer bulked
	var progress *meter // where one request is not enough
	err := c.with(func(a *asker) error {
		for {
			if err := a.post(ctx, path, key, body, &answer); err != nil {
				return err
			}
			if !answer.More && answer.Count == 0 {
				return a.unknown(ctx, m.Type, body.ClientID)
			}
			if !answer.More {
				return nil
			}
			if progress == nil {
				progress = newMeter(out.Err, 0)
				progress.what = things
			}
			progress.show(int(answer.Count))
		}
	})
	if progress != nil {
		progress.end()
	}
	if err != nil {
		if key != "" && mayHaveBegun(err) {
			again := "--resume " + key
			if !body.Since.IsZero() { // how long ago would be another time
				again += " --since " + body.Since.Format(time.RFC3339Nano)
			}
			fmt.Fprintf(out.Err, "what was done stays done; the same command with %s goes on, and does nothing twice\n", again)
		}
		return err
	}
	if asJSON {
		return printJSON(out.Out, answer)
	}
	verb := answer.Verb
	if answer.DryRun {
		verb = "would " + verb
	}
	_, err = fmt.Fprintf(out.Out, "%s: %d %s\n", verb, answer.Count, things)
	return err
}

// mayHaveBegun reports whether a request that failed may have been taken.
func mayHaveBegun(err error) bool {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.status >= 500
	}
	if _, ok := errors.AsType[*notAsked](err); ok {
		return false
	}
	dial, ok := errors.AsType[*net.OpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return !untrusted && !errors.Is(err, http.ErrSchemeMismatch) && (!ok || dial.Op != "dial")
}
