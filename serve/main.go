package serve

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"inturn/cli"
	"inturn/db/sqlite"
	"inturn/functions"
	"inturn/functions/api"
	"inturn/logs"
)

// printTime bounds how long a last message may take where nothing reads it.
const printTime = time.Second

// commands are those of the program. Package cli has the bodies of all but serve.
type commands struct {
	Serve      serveCommand   `cmd:"" help:"Run the server."`
	Demo       cli.Demo       `cmd:"" help:"Show it: a server, 10,000 events for 1,000 accounts, 1 s of work each."`
	Generate   cli.Generate   `cmd:"" help:"Write client messages to a CSV file."`
	Post       cli.Post       `cmd:"" help:"Send one event and print its receipt."`
	Send       cli.Send       `cmd:"" help:"Send a file of events, over HTTP or a WebSocket."`
	LoadTest   cli.LoadTest   `cmd:"" name:"loadtest" help:"Offer messages at a fixed rate, then verify by the API what became of them."`
	Cancel     cli.Cancel     `cmd:"" help:"Set a pending event aside, as dead."`
	Status     cli.Status     `cmd:"" help:"Show how the server stands, on one screen."`
	Events     cli.Events     `cmd:"" help:"Look at events, in any state."`
	Accounts   cli.Accounts   `cmd:"" help:"Look at accounts; pause, resume, retry, skip, replay and erase them."`
	Dead       cli.Dead       `cmd:"" help:"Look at events that were set aside, and run them again."`
	Types      cli.Types      `cmd:"" help:"List the types of events, and which are paused."`
	Pause      cli.Pause      `cmd:"" help:"Begin no event of a type, or none at all, until it is resumed."`
	Resume     cli.Resume     `cmd:"" help:"Let a type, or everything, go on."`
	Audit      cli.Audit      `cmd:"" help:"Show what operators did, and why."`
	Token      cli.Token      `cmd:"" help:"Make, list and revoke tokens."`
	Check      cli.Check      `cmd:"" help:"Prove from the file alone that nothing was lost, doubled or overtaken."`
	Query      cli.Query      `cmd:"" help:"Run read-only SQL on the file, also while the server runs."`
	Config     configCommand  `cmd:"" help:"Look at configuration files."`
	Backup     cli.Backup     `cmd:"" help:"Make a checked copy of the file, also while the server runs."`
	Compact    cli.Compact    `cmd:"" help:"Give the space of deleted rows back; the server must be stopped."`
	Restore    cli.Restore    `cmd:"" help:"Make the file from a backup."`
	Health     cli.Health     `cmd:"" help:"Exit with 0 if the server is ready."`
	Completion cli.Completion `cmd:"" help:"Print the script that completes commands in your shell."`
	Man        cli.Man        `cmd:"" hidden:"" help:"Write the manual pages into a folder."`
	Version    cli.Version    `cmd:"" help:"Print the version."`
	Help       struct{}       `cmd:"" help:"Print this help."`
}

// Main is the whole program with these functions: it runs the command that the command
// line names and ends the process with its exit status. A main function calls it and
// nothing else.
func Main(list ...functions.Function) {
	dropEmptySettings()
	os.Exit(execute(list, os.Args[1:], os.Stdout, os.Stderr))
}

// dropEmptySettings makes an empty variable mean that it isn't set: compose files
// and CI systems can't leave one out.
func dropEmptySettings() {
	for _, setting := range os.Environ() {
		if name, value, _ := strings.Cut(setting, "="); value == "" && strings.HasPrefix(name, "INTURN_") {
			_ = os.Unsetenv(name) // it is one that is set
		}
	}
}

// execute is one call of the program. It returns the exit status.
func execute(list []functions.Function, args []string, out, errOut io.Writer) int {
	var early *hangups
	if len(args) > 0 && args[0] == "serve" {
		early = catchHangups() // first of all: until then SIGHUP ends the process
	}
	// `inturn help serve` is `inturn serve --help`; `--version` is what others understand.
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help":
		args = append(args[1:len(args):len(args)], "--help")
	case len(args) == 1 && args[0] == "--version":
		args = []string{"version"}
	}
	status := -1
	parser, err := newParser(&commands{}, out, errOut, func(code int) { status = code })
	if err != nil {
		return cli.Fail(errOut, err)
	}
	command, err := cli.Parse(parser, args, os.Environ())
	if status >= 0 { // help was printed
		return status
	}
	if err != nil {
		return cli.Fail(errOut, err)
	}
	set, err := functions.NewSet(list...)
	if err != nil {
		return cli.Fail(errOut, err)
	}
	ctx := context.Background()
	if command.Selected().Name == "serve" { // it drains on the first signal
		if early == nil {
			early = catchHangups()
		}
	} else {
		var stop context.CancelFunc
		ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
		if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
			ends = append(ends, syscall.SIGHUP)
		}
		ctx, stop = signal.NotifyContext(ctx, ends...)
		defer stop()
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(parser, early, cli.IO{Out: out, Err: errOut}, set, set.Invariants(), postgresCommands(set),
		cli.Start(startDemo(set)), tokenEditor, cli.Build{Version: programVersion(), SQLite: sqlite.SQLiteVersion})
	return cli.Fail(logs.Within(errOut, printTime), command.Run())
}

func newParser(c *commands, out, errOut io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(c, append(cli.Options(), kong.Name("inturn"),
		kong.Description("Durable events over HTTPS, and functions that run on them: in order within an account, each once."),
		kong.UsageOnError(), kong.Writers(out, errOut), kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)...)
}

// tokenEditor is the token commands' way to the file that the API reads.
var tokenEditor = cli.TokenEditor{
	New: func(path string, info cli.TokenInfo) (string, error) { return api.NewToken(path, api.TokenInfo(info)) },
	List: func(path string) ([]cli.TokenInfo, error) {
		list, err := api.ListTokens(path)
		infos := make([]cli.TokenInfo, len(list))
		for i, info := range list {
			infos[i] = cli.TokenInfo(info)
		}
		return infos, err
	},
	Revoke: api.RevokeToken,
	Taken:  api.ErrTokenTaken, Unknown: api.ErrNoToken,
}

// startDemo runs the server that the demo sends to.
func startDemo(set *functions.Set) cli.Start {
	return func(ctx context.Context, dir string, ready func(addr, caFile string)) error {
		return serve(ctx, Config{
			DB: filepath.Join(dir, cli.DemoDB), Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", TLSConfig: TLSConfig{TLS: tlsSelfSigned},
			LogLevel: "warn", Drain: defaultDrain,
		}, set, cli.IO{Out: io.Discard, Err: os.Stderr}, func(s *Server) { ready(s.Addr().Public, s.Addr().CA) })
	}
}
