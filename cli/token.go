package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
)

// TokenInfo is what a token file says of a token.
type TokenInfo struct {
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	ClientIDs []string `json:"client_ids,omitempty"` // none: all
}

// TokenEditor edits the token file at a path. Its edits are durable and whole, also
// when two happen at once.
type TokenEditor struct {
	New    func(path string, info TokenInfo) (secret string, err error)
	List   func(path string) ([]TokenInfo, error)
	Revoke func(path, name string) error
	// Taken and Unknown are the errors of New and Revoke for a name that is there, and one
	// that is not.
	Taken, Unknown error
}

// Token holds the commands that edit a token file. A running server takes a changed file
// within seconds, or at once at SIGHUP.
type Token struct {
	New    TokenNew    `cmd:"" help:"Make a token and print it, once: the file holds its hash."`
	List   TokenList   `cmd:"" help:"List the tokens of the file."`
	Revoke TokenRevoke `cmd:"" help:"Remove a token from the file."`
}

// TokenFile is the flag that names the file.
type TokenFile struct {
	TokenFile string `help:"The token file; new makes it. Default: data/tokens.json." default:"data/tokens.json" env:"INTURN_TOKEN_FILE" placeholder:"FILE"`
}

// TokenNew is `inturn token new`.
type TokenNew struct {
	TokenFile
	Name     string   `arg:"" help:"Name of the token, for the log and for revoke."`
	Scope    []string `help:"What it is good for: ingest, read, operate; may be repeated." default:"ingest" enum:"ingest,read,operate" env:"INTURN_SCOPE"`
	ClientID []string `help:"Good for this client_id only; may be repeated." env:"INTURN_CLIENT_ID" placeholder:"ID"`
	JSON     bool     `help:"Print JSON." env:"INTURN_JSON"`
}

// Run prints the token alone, so that a script can take it.
func (n TokenNew) Run(out IO, edit TokenEditor) error {
	secret, err := edit.New(n.TokenFile.TokenFile, TokenInfo{n.Name, n.Scope, n.ClientID})
	if err != nil {
		return edit.explain(fmt.Errorf("token new: %w", err))
	}
	if n.JSON {
		return json.NewEncoder(out.Out).Encode(map[string]string{"name": n.Name, "token": secret})
	}
	_, err = fmt.Fprintln(out.Out, secret)
	return err
}

// TokenList is `inturn token list`.
type TokenList struct {
	TokenFile
	JSON bool `help:"Print JSON." env:"INTURN_JSON"`
}

// Run prints names, scopes and client_ids. Hashes are of use for guessing alone.
func (l TokenList) Run(out IO, edit TokenEditor) error {
	list, err := edit.List(l.TokenFile.TokenFile)
	if err != nil {
		return edit.explain(fmt.Errorf("token list: %w", err))
	}
	if l.JSON {
		return json.NewEncoder(out.Out).Encode(list)
	}
	w := tabwriter.NewWriter(out.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "name\tscopes\tclient_ids")
	for _, t := range list {
		ids := "all"
		if len(t.ClientIDs) > 0 {
			ids = printable(strings.Join(t.ClientIDs, " "))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", printable(t.Name), strings.Join(t.Scopes, " "), ids)
	}
	return w.Flush()
}

// TokenRevoke is `inturn token revoke`.
type TokenRevoke struct {
	TokenFile
	Name string `arg:"" help:"Name of the token."`
}

// Run prints nothing where it succeeds.
func (r TokenRevoke) Run(edit TokenEditor) error {
	if err := edit.Revoke(r.TokenFile.TokenFile, r.Name); err != nil {
		return edit.explain(fmt.Errorf("token revoke %q: %w", r.Name, err))
	}
	return nil
}

// explain adds a hint to what a person can do something about.
func (e TokenEditor) explain(err error) error {
	switch {
	case errors.Is(err, e.Unknown):
		return &Hint{Err: err, Hint: "`inturn token list` names those of the file; another file is named with --token-file"}
	case errors.Is(err, e.Taken):
		return &Hint{Err: err, Hint: "choose another name, or remove that one first: `inturn token revoke NAME`"}
	case errors.Is(err, fs.ErrNotExist):
		return &Hint{Err: err, Hint: "name the file with --token-file; `inturn token new NAME` makes it"}
	}
	return err
}
