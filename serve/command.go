package serve

import (
	"context"
	"errors"

	"inturn/cli"
	"inturn/functions"
)

// serveCommand is `inturn serve`.
type serveCommand struct{ Config }

// Run serves until a signal ends it or a part of the server fails. While the server stops,
// the next SIGINT or SIGTERM ends the process at once.
func (c *serveCommand) Run(ctx context.Context, set *functions.Set, out cli.IO, early *hangups) error {
	signals := notifySignals(ctx, early)
	defer signals.stop()
	return serve(signals.ctx, c.Config, set, out, signals.serve)
}

// serve makes a server, hands it to opened, and runs it until ctx ends. It is no error if
// ctx ends while the server waits for the database.
func serve(ctx context.Context, config Config, set *functions.Set, out cli.IO, opened func(*Server)) error {
	s, err := New(ctx, config, set, out)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return err
	}
	opened(s)
	return s.Run(ctx)
}
