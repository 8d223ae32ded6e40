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

// exitStatus is an error that asks for another exit status than 1.
type exitStatus interface {
	error
	ExitStatus() int
}

// Fail prints err for people and returns the process's exit status: 0 for no
// error, 2 for wrong usage, what the error's ExitStatus says, 1 for all else.
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
	// errors.Join puts its parts on lines of their own; a message is one line.
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if usage, ok := errors.AsType[*kong.ParseError](err); ok {
		status = 2
		text, hint = explainUsage(usage, text)
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		status, hint = 2, "see `"+strings.TrimSpace("inturn "+usage.command)+" --help`"
	}
	if s, ok := errors.AsType[exitStatus](err); ok {
		status = s.ExitStatus()
	}
	if h, ok := errors.AsType[*Hint](err); ok {
		hint = h.Hint
	}
	fmt.Fprintln(w, "inturn: "+printable(text))
	if hint != "" {
		fmt.Fprintln(w, "hint: "+hint)
	}
	return status
}

// explainUsage puts the command in front of kong's text, which has it only where the
// command itself has said what is wrong, and names the help that says how it is used.
func explainUsage(err *kong.ParseError, text string) (what, hint string) {
	// "" among the values of a flag stands for its absence.
	text = strings.NewReplacer(`expected string value but got "EOL" (<EOL>)`, "needs a value", `,"" but got `, ` but got `).Replace(text)
	path := ""
	if err.Context != nil {
		if node := err.Context.Selected(); node != nil {
			path = node.Path()
		}
	}
	if path == "" {
		return text, "see `inturn --help`"
	}
	if !strings.HasPrefix(text, path+": ") {
		text = path + ": " + text
	}
	return text, "see `inturn " + path + " --help`"
}
