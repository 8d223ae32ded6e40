package serve

import (
	"fmt"
	"log/slog"

	"inturn/cli"
	"inturn/functions"
)

// configCommand is `inturn config`.
type configCommand struct {
	Check configCheck `cmd:"" help:"Say what is wrong with a configuration file, as serve would."`
}

// configCheck is `inturn config check`.
type configCheck struct {
	File              string `arg:"" help:"The file."`
	InsecureFunctions bool   `help:"Let functions name private addresses, and plain http:// beyond loopback." env:"INTURN_INSECURE_FUNCTIONS"`
}

// Run loads the file as serve does with the environment of this process: the secrets that
// it names must be there.
func (c *configCheck) Run(set *functions.Set, out cli.IO) error {
	flags, err := ParseConfig()
	if err != nil {
		return fmt.Errorf("config check: %w", err)
	}
	flags.File, flags.InsecureFunctions = c.File, c.InsecureFunctions
	a := &assembler{flags: &flags, built: set, secrets: func(string) []string { return nil }, log: slog.New(slog.DiscardHandler)}
	file, err := a.load()
	if err == nil {
		_, err = a.assemble(file, nil)
	}
	if err != nil {
		return fmt.Errorf("config check: %w", err)
	}
	_, err = fmt.Fprintf(out.Out, "%s is good: %s, %s, %s\n", c.File,
		count(len(file.Functions), "function"), count(len(file.Schedules), "schedule"), count(len(file.Hooks), "hook"))
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
