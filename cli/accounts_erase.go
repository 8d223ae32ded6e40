package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// AccountsErase is `inturn accounts erase`.
type AccountsErase struct {
	Simple
	One
	Yes bool `help:"Yes, everything of this account is to be deleted, for good." env:"INTURN_YES"`
}

// Validate returns an error if the arguments don't belong together. kong calls it.
func (e AccountsErase) Validate() error {
	if !e.Yes {
		return errors.New("nothing of the client will be left: say --yes if that is meant")
	}
	return nil
}

// erased is the server's answer to an erasure.
type erased struct {
	Verb    string           `json:"verb"`
	Client  string           `json:"client"`
	Events  int64            `json:"events"`
	Pending int64            `json:"pending"`
	Rows    map[string]int64 `json:"rows"`
	InWAL   bool             `json:"in_wal"`
}

// nothing reports whether there was nothing to delete.
func (e *erased) nothing() bool {
	rows := int64(0)
	for _, n := range e.Rows {
		rows += n
	}
	return e.Events+rows == 0 && !e.InWAL
}

// Run prints what was deleted. It may be run again, also after it was cut short. It
// returns an error if there was nothing to delete.
func (e AccountsErase) Run(ctx context.Context, out IO) error {
	var done erased
	body, err := json.Marshal(reasonBody{e.Reason.Reason})
	if err != nil {
		return err
	}
	end := elapsed(out.Err, "erasing")
	err = e.Client.with(func(a *asker) error {
		return a.ask(ctx, http.MethodPost, accountPath(e.ClientID, "/erase"), nil, body, &done)
	})
	end()
	switch {
	case err != nil:
		return fmt.Errorf("accounts erase: %w", err)
	case e.JSON:
		err = printJSON(out.Out, done)
	default:
		err = done.print(out.Out)
	}
	if err == nil && done.nothing() {
		err = &Hint{
			Err:  fmt.Errorf("accounts erase: there is no account %q, nothing of this client_id was deleted", e.ClientID),
			Hint: "`inturn accounts list` lists the accounts",
		}
	}
	return err
}

func (e *erased) print(w io.Writer) error {
	f := newFacts(w)
	f.add("events", e.Events)
	f.add("of them pending", e.Pending)
	for _, table := range slices.Sorted(maps.Keys(e.Rows)) {
		f.add("rows of "+table, e.Rows[table])
	}
	f.add("in the audit as", e.Client)
	if e.InWAL {
		f.add("not yet gone", "somebody reads an old state of the file: until they are done it stands in the -wal file")
	}
	return f.end()
}
