package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"inturn/cli"
	"inturn/config"
	"inturn/functions"
	"inturn/functions/api"
	"inturn/functions/hook"
	"inturn/functions/webhook"
	"inturn/schedules"
)

// assembly is all that runs events and makes events: the functions of the program, and
// what flags and the configuration file add. A reload replaces it as a whole.
type assembly struct {
	functions *functions.Set
	webhooks  *webhook.Webhooks
	schedules []schedules.Schedule
}

// assembler makes assemblies of configuration files. `inturn config check` has one too, so
// that it says what serve would.
type assembler struct {
	flags   *Config
	built   *functions.Set                 // those of the program
	secrets func(clientID string) []string // of signed webhooks, from the token file
	epoch   func() int64                   // is asked once events run
	log     *slog.Logger
}

// load reads the configuration file, if there is one.
func (a *assembler) load() (*config.Config, error) {
	if a.flags.File == "" {
		return nil, nil
	}
	file, err := config.Load(a.flags.File, os.LookupEnv)
	if _, statErr := os.Stat(a.flags.File); errors.Is(err, fs.ErrNotExist) && errors.Is(statErr, fs.ErrNotExist) {
		return nil, &cli.Hint{Err: err, Hint: "name a file that is there with --config or INTURN_CONFIG, as a path from the folder in which inturn is started; docs/config.md describes it"}
	}
	return file, err
}

// assemble makes an assembly that takes the place of before, which may be nil. file is nil
// for none.
func (a *assembler) assemble(file *config.Config, before *assembly) (*assembly, error) {
	if file == nil {
		file = &config.Config{}
	}
	made := &assembly{schedules: file.Schedules}
	var err error
	if made.webhooks, err = a.webhooks(file, before); err != nil {
		return nil, err
	}
	hooks, err := hooksOf(file)
	if err != nil {
		return nil, err
	}
	made.functions, err = functions.NewSet(slices.Concat(a.built.All(), made.webhooks.Functions(), hooks, []functions.Function{hook.Function(a.secrets)})...)
	if err != nil {
		return nil, err
	}
	if err := checkTypes(file, made.functions); err != nil {
		return nil, err
	}
	return made, api.CheckFunctions(made.functions)
}

// hooksOf makes the hooks, in the order of the file. Two that take the same path are
// refused at the second.
func hooksOf(file *config.Config) ([]functions.Function, error) {
	var all []functions.Function
	for i, o := range file.Hooks {
		f, err := hook.New(o)
		if err != nil {
			return nil, file.At(fmt.Sprintf("hooks[%d]", i), err.Error())
		}
		all = append(all, f)
		set, err := functions.NewSet(all...)
		if err == nil {
			err = api.CheckFunctions(set)
		}
		if err != nil {
			return nil, file.At(fmt.Sprintf("hooks[%d].path", i), "takes requests that a hook above takes too: choose another path")
		}
	}
	return all, nil
}

// checkTypes says whether there is a function for what hooks and schedules make, and
// whether it takes the schedules' payloads.
func checkTypes(file *config.Config, set *functions.Set) error {
	var problems []*config.Error
	for i, o := range file.Hooks {
		if _, ok := set.Get(o.Type); !ok {
			problems = append(problems, file.At(fmt.Sprintf("hooks[%d].type", i), noFunction(o.Type, set)))
		}
	}
	for i, s := range file.Schedules {
		at := fmt.Sprintf("schedules[%d]", i)
		if _, ok := set.Get(s.Type); !ok {
			problems = append(problems, file.At(at+".type", noFunction(s.Type, set)))
			continue
		}
		_, err := set.Check(functions.Event{ClientID: s.ClientID, MessageID: s.MessageID(time.Unix(0, 0)), Type: s.Type, Payload: s.Payload})
		if fe, ok := errors.AsType[*functions.FieldError](err); ok {
			field := strings.ReplaceAll(strings.TrimPrefix(fe.Pointer, "/"), "/", ".")
			problems = append(problems, file.At(at+"."+field, fe.Detail))
		} else if err != nil {
			problems = append(problems, file.At(at+".payload", err.Error()))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return config.Join(problems...)
}

func noFunction(typ string, set *functions.Set) string {
	return fmt.Sprintf("has no function: there are %s; add %.100q to functions", strings.Join(set.Names(), ", "), typ)
}
