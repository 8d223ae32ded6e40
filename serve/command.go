package serve

import (
	"context"
	"errors"
	"os/signal"
	"syscall"

	"inturn/cli"
	"inturn/functions"
)

// serveCommand is `inturn serve`.
type serveCommand struct{ Config }

// Run serves until SIGINT or SIGTERM comes or a part of the server fails. The signals
// count from before the database is opened, where a server may wait for its owner. While
// the server stops, the next one ends the process at once.
func (c *serveCommand) Run(ctx context.Context, set *functions.Set, out cli.IO) error {
	ctx, release := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer release()
	return serve(ctx, c.Config, set, out, func(s *Server) { s.OnStop(release) })
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
