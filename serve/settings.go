package serve

import (
	"io"
	"slices"
	"strings"
)

// ParseConfig returns the configuration that `inturn serve` has with these flags in the
// environment of this process.
func ParseConfig(flags ...string) (Config, error) {
	c := &commands{}
	parser, err := newParser(c, io.Discard, io.Discard, func(int) {})
	if err != nil {
		return Config{}, err
	}
	if _, err := parser.Parse(append([]string{"serve"}, flags...)); err != nil {
		return Config{}, err
	}
	return c.Serve.Config, nil
}

// UnknownSettings returns the names of the variables INTURN_… of an environment that
// nothing reads.
func UnknownSettings(environ []string) (unknown []string) {
	known := settings()
	for _, setting := range environ {
		name, _, _ := strings.Cut(setting, "=")
		if strings.HasPrefix(name, "INTURN_") && !strings.HasPrefix(name, "INTURN_FUNCTION_SECRET_") && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// settings returns the variables that the program reads. Secrets are in the environment
// alone: the flags of a process are in the list of processes.
func settings() []string {
	names := []string{"INTURN_TOKEN", "INTURN_FUNCTION_SECRET",
		"INTURN_LONG", "INTURN_NEED", "INTURN_TEST_FILE"} // the tests', which run the program
	parser, err := newParser(&commands{}, io.Discard, io.Discard, func(int) {})
	if err != nil {
		return names // execute says what is wrong
	}
	for _, command := range parser.Model.Leaves(true) {
		for _, flag := range command.Flags {
			names = append(names, flag.Envs...)
		}
	}
	return names
}
