package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// Hint is an error with a second line: what to do about it.
type Hint struct {
	Err  error
	Hint string
}

func (h *Hint) Error() string { return h.Err.Error() }
func (h *Hint) Unwrap() error { return h.Err }

// exitStatus is an error with an exit status of its own.
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
	// errors.Join separates its parts by line breaks; a message is one line.
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

// negative is how kong refuses a number below 0, which it takes for a flag.
var negative = regexp.MustCompile(`(--[a-z-]+): expected .*value but got "(-[0-9][^"]*)" \(short flag\); perhaps try .*`)

// explainUsage returns kong's text with the command in front, which only the errors of
// commands' own checks have already, and a hint that names the command's help.
func explainUsage(err *kong.ParseError, text string) (what, hint string) {
	text = negative.ReplaceAllString(text, `$1: $2 is negative, and must not be`)
	// "" among the values of a flag stands for its absence.
	text = strings.NewReplacer(`expected string value but got "EOL" (<EOL>)`, "needs a value", "expected value ", "expected a ", `,"" but got `, ` but got `).Replace(text)
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
