package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/oklog/run"

	"inturn/functions/api"
)

// Run serves until ctx ends or a part of the server fails, and closes it. What was taken
// by then is committed and answered. It is called once.
func (s *Server) Run(ctx context.Context) error {
	watchdog := newWatchdog(s.lines)
	defer watchdog.Stop()
	s.stop = sync.OnceFunc(func() {
		for _, f := range s.onStop {
			f()
		}
		watchdog.Reset(s.config.Drain + WatchdogAfter)
		close(s.stopping) // before the line, which says that events are refused from now on
		s.log.Info("stopping", "drain", s.config.Drain)
	})
	// Two groups, one in the other: while functions drain in the inner one, the servers of
	// the outer one answer what they can, and say 503 to new events and on /readyz.
	var work, servers run.Group
	s.addWork(ctx, &work)
	servers.Add(func() error {
		err := work.Run()
		s.refuseAll()
		return err
	}, func(error) { s.stop() })
	s.addServers(&servers)

	s.sayReady()
	err := servers.Run()
	if errors.Is(err, context.Canceled) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	if err == nil {
		s.log.Info("stopped")
	}
	if cerr := s.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("serve: %w", s.config.explain(err))
	}
	return nil
}

// addWork adds the actors of the inner group. The first to end ends all; each is
// then interrupted in the order in which it was added.
func (s *Server) addWork(ctx context.Context, g *run.Group) {
	g.Add(run.ContextHandler(ctx))
	g.Add(s.watchStore, func(error) {
		if s.store.Err() != nil {
			s.runner.Abort()
		}
		s.stop()
	})
	g.Add(s.endStreams, func(error) { s.stop() })
	if s.idle != nil {
		g.Add(s.endWhenIdle, func(error) { s.stop() })
	}
	if s.config.Retention > 0 {
		addUntil(g, func(ctx context.Context) { s.store.Retain(ctx, s.config.Retention) })
	}
	addUntil(g, func(ctx context.Context) { s.tokens.Watch(ctx, s.reload, s.log) })
	addUntil(g, s.certs.run)
	addUntil(g, s.followConfig)
	addUntil(g, s.ticks.Run)
	addUntil(g, s.numbers.Sample)
	if s.page != nil {
		addUntil(g, s.page.Run)
	}
	s.runner.AddTo(g, s.config.Drain)
}

// addUntil adds an actor that runs f and stays until the group ends, which ends f's
// context. Where f fails it is not for the group to end.
func addUntil(g *run.Group, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	g.Add(func() error {
		f(ctx)
		<-ctx.Done()
		return nil
	}, func(error) { cancel() })
}

// watchStore returns when the storage has failed or the server stops.
func (s *Server) watchStore() error {
	select {
	case <-s.store.Failed():
		return s.store.Err()
	case <-s.stopping:
		return nil
	}
}

// endStreams waits, while the server stops, until each WebSocket has the answers to what
// it has sent. net/http does not wait for connections that are WebSockets.
func (s *Server) endStreams() error {
	<-s.stopping
	ctx, cancel := context.WithTimeout(context.Background(), max(s.config.Drain, streamsEnd))
	defer cancel()
	_ = s.streams.Wait(ctx) // what is not answered by then is sent again
	return nil
}

// endWhenIdle returns when the server has been idle for so long, or stops. It is busy while
// there is anything to run, now or later: what is scheduled keeps the process, as nothing
// else would start it in time.
func (s *Server) endWhenIdle() error {
	busy := func() bool { return s.runner.Busy() || !s.store.Stats().NextDue.IsZero() }
	if s.idle.wait(s.stopping, s.config.ExitWhenIdle, busy) {
		line := s.log.With("for", s.config.ExitWhenIdle)
		if next := s.ticks.Next(); !next.IsZero() {
			line = line.With("next_tick", next) // the process must be started again by then
		}
		line.Info("nothing to do; ending")
	}
	return nil
}

// refuseAll has each new request on the public address refused and waits until those that
// were begun before are answered, for at most serverEnd. It runs once the functions have
// ended and before the connections are closed.
func (s *Server) refuseAll() {
	close(s.closing)
	ctx, cancel := context.WithTimeout(context.Background(), serverEnd)
	defer cancel()
	s.public.idle(ctx)
}

// addServers adds the HTTP servers. They end together, after the inner group.
func (s *Server) addServers(g *run.Group) {
	drained := make(chan struct{})
	done := sync.OnceFunc(func() { close(drained) })
	var handler http.Handler = s.handler
	if s.idle != nil {
		handler = s.idle.requests(handler)
	}
	public := api.Server(handler, s.certs.config, s.log)
	public.ConnState = s.public.connState
	addServer(g, public, s.public, drained, done)
	if s.clients.plain != nil {
		redirect := api.Redirect(s.api, publicPort(s.clients))
		addServer(g, serverBeside(s.certs.challenges(redirect), s.clients.plain, s.log), s.clients.plain, drained, done)
	}
	addServer(g, serverBeside(api.Admin(s.api), s.admin, s.log), s.admin, drained, done)
}

// serverBeside returns the server of an address beside the public one.
func serverBeside(h http.Handler, l *yieldListener, log *slog.Logger) *http.Server {
	server := api.Server(h, nil, log)
	server.IdleTimeout, server.ConnState = sideIdle, l.connState
	return server
}
