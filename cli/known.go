package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxKnown bounds how many types a hint names.
const maxKnown = 20

// unknownType returns an error, with the types that are known as its hint, if the server
// knows no type of this name: no function has it, and nothing of it is paused or waits. It
// returns nil where the server can't be asked, as with a token that may not read.
func (a *asker) unknownType(ctx context.Context, name string) error {
	var list struct {
		Types []struct {
			Type string `json:"type"`
		} `json:"types"`
	}
	if a.get(ctx, "/v1/types", &list) != nil {
		return nil
	}
	known := make([]string, 0, len(list.Types))
	for _, one := range list.Types {
		if one.Type == name {
			return nil
		}
		known = append(known, quoted(one.Type))
	}
	if more := len(known) - maxKnown; more > 0 {
		known = append(known[:maxKnown], fmt.Sprintf("and %d more (`inturn types`)", more))
	}
	hint := "this server has no functions: see --function"
	if len(known) > 0 {
		hint = "known are: " + strings.Join(known, ", ")
	}
	return &Hint{Err: fmt.Errorf("no type %s is known", quoted(name)), Hint: hint}
}

// unknownAccount returns an error, with a hint, if there is no account of this name.
func (a *asker) unknownAccount(ctx context.Context, clientID string) error {
	var found account
	r, ok := errors.AsType[*refused](a.get(ctx, accountPath(clientID, ""), &found))
	if !ok || r.status != http.StatusNotFound {
		return nil
	}
	return &Hint{Err: fmt.Errorf("there is no account %s", quoted(clientID)), Hint: "`inturn accounts list` lists them"}
}

// unknown returns an error if a selection that has met nothing names a type or an account that
// the server doesn't know, "" for none.
func (a *asker) unknown(ctx context.Context, name, clientID string) error {
	if name != "" {
		if err := a.unknownType(ctx, name); err != nil {
			return err
		}
	}
	if clientID != "" {
		return a.unknownAccount(ctx, clientID)
	}
	return nil
}

// sayNone says that a list is empty, and that what it was asked for isn't known, if unknown is
// not nil.
func sayNone(w io.Writer, none string, unknown error) error {
	if unknown != nil {
		none += ": " + unknown.Error()
		if h, ok := errors.AsType[*Hint](unknown); ok {
			none += "\nhint: " + h.Hint
		}
	}
	_, err := fmt.Fprintln(w, none)
	return err
}
