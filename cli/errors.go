package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Hint is an error with a second line that says what a person can do about it.
type Hint struct {
	Err  error
	Hint string
}

func (h *Hint) Error() string { return h.Err.Error() }
func (h *Hint) Unwrap() error { return h.Err }

// Fail prints err for people and returns the process's exit status: 0 for no
// error, 2 for wrong usage, 1 for all else.
//
//	inturn: what failed: why
//	hint: what to do
func Fail(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "inturn: interrupted")
		return 1
	}
	status, hint := 1, ""
	if usage, ok := errors.AsType[*kong.ParseError](err); ok {
		status, hint = 2, helpCommand(usage)
	}
	if h, ok := errors.AsType[*Hint](err); ok {
		hint = h.Hint
	}
	// errors.Join puts its parts on lines of their own; a message is one line.
	fmt.Fprintln(w, "inturn: "+printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
	if hint != "" {
		fmt.Fprintln(w, "hint: "+hint)
	}
	return status
}

// helpCommand names the command whose help says how it is used.
func helpCommand(err *kong.ParseError) string {
	command := "inturn"
	if err.Context != nil {
		if node := err.Context.Selected(); node != nil {
			command = node.FullPath()
		}
	}
	return "see `" + command + " --help`"
}
