package cli

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Options are those of a parser of the commands.
func Options() []kong.Option {
	return []kong.Option{kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration))}
}

// usageError is wrong usage that kong doesn't see.
type usageError struct {
	command string
	err     error
}

func (u *usageError) Error() string { return strings.TrimPrefix(u.command+": "+u.err.Error(), ": ") }

// Parse parses the arguments of the program. Beyond what kong does it refuses what
// would pass in silence for something else: an argument or flag that is given as an
// empty text (a shell's variable that isn't set), and among the variables of the
// environment, as os.Environ returns it, one whose name is a setting's but for a slip.
func Parse(parser *kong.Kong, args, environ []string) (*kong.Context, error) {
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, err
	}
	command := ""
	if node := ctx.Selected(); node != nil {
		command = node.Path()
		if _, ok := reflect.TypeAssert[interface{ acceptsEmpty() }](node.Target); ok {
			return ctx, nil
		}
	}
	if err := errors.Join(emptyArgument(ctx), misspelt(parser.Model, environ)); err != nil {
		return nil, &usageError{command, err}
	}
	return ctx, nil
}

func emptyArgument(ctx *kong.Context) error {
	for _, p := range ctx.Path {
		switch {
		case p.Flag != nil && !p.Resolved && isEmpty(p.Flag.Target):
			return fmt.Errorf("--%s is empty: give it a value, or leave it out", p.Flag.Name)
		case p.Positional != nil && isEmpty(p.Positional.Target):
			return fmt.Errorf("<%s> is empty", p.Positional.Name)
		}
	}
	return nil
}

// isEmpty reports whether what was given is an empty string, or a list without a word.
func isEmpty(v reflect.Value) bool {
	switch {
	case v.Kind() == reflect.String:
		return v.String() == ""
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		return v.Len() == 0 || slices.Contains(v.Interface().([]string), "")
	}
	return false
}

// settings returns the variables that are read, in order: those of the flags, and the key
// of webhooks (INTURN_FUNCTION_SECRET_<TYPE> is it too).
func settings(model *kong.Application) []string {
	all := []string{"INTURN_FUNCTION_SECRET"}
	_ = kong.Visit(model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			all = append(all, flag.Envs...)
		}
		return next(nil)
	})
	slices.Sort(all)
	return slices.Compact(all)
}

const settingPrefix = "INTURN_"

// misspelt refuses a variable that differs by one or two letters from a setting, its
// first letter being right. Others may be another program's: Kubernetes sets
// INTURN_PORT where a service has the name inturn.
func misspelt(model *kong.Application, environ []string) error {
	known := settings(model)
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		word, ok := strings.CutPrefix(name, settingPrefix)
		if !ok || len(word) < 3 || slices.Contains(known, name) {
			continue
		}
		near := slices.MinFunc(known, func(a, b string) int { return distance(name, a) - distance(name, b) })
		if near[len(settingPrefix)] == word[0] && distance(name, near) <= 2 {
			return fmt.Errorf("the environment has %s, which is no setting: did you mean %s?", name, near)
		}
	}
	return nil
}

// distance is how many letters are inserted, deleted or replaced between a and b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
