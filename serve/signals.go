package serve

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signals is what the signals of the process ask of a server. SIGINT and SIGTERM end it,
// from before its database is opened, where it may wait for another server. SIGHUP reloads
// its files, or ends it where it says that the terminal has gone. SIGPIPE is ignored: a
// write to a pipe that nothing reads any more fails, as others do.
type signals struct {
	ctx      context.Context // ends with the first signal to end
	cancel   context.CancelFunc
	ended    chan struct{} // closed when watch has returned
	terminal bool          // there was one at the start, and its end is to end the process

	mu      sync.Mutex
	serving *Server // nil: it is still being opened
}

// hangups are the SIGHUPs since the process has begun.
type hangups struct {
	received chan os.Signal
	terminal bool // there was one, and its end is to end the process
}

// catchHangups begins to receive SIGHUP, which would end the process.
func catchHangups() *hangups {
	ignored := signal.Ignored(syscall.SIGHUP) // as nohup has it: what is started so is to outlive its terminal
	h := &hangups{received: make(chan os.Signal, 4)}
	signal.Notify(h.received, syscall.SIGHUP)
	h.terminal = !ignored && hasTerminal()
	return h
}

// notifySignals begins to receive signals, with those that came early. Stop ends it.
func notifySignals(ctx context.Context, early *hangups) *signals {
	s := &signals{ended: make(chan struct{}), terminal: early.terminal}
	s.ctx, s.cancel = context.WithCancel(ctx)
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(early.received, syscall.SIGINT, syscall.SIGTERM)
	go s.watch(early.received)
	return s
}

// watch returns with the first signal to end, or with ctx. SIGHUP is received for as long
// as the process lives, so that it never ends it.
func (s *signals) watch(received chan os.Signal) {
	defer close(s.ended)
	for {
		select {
		case sig := <-received:
			if sig == syscall.SIGHUP && (!s.terminal || hasTerminal()) {
				s.reload()
				continue
			}
			s.cancel()
		case <-s.ctx.Done():
		}
		return
	}
}

func (s *signals) reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving != nil {
		s.serving.Reload()
	}
}

// serve has SIGHUP reload server, and the next SIGINT or SIGTERM after its first end the
// process at once.
func (s *signals) serve(server *Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = server
	server.OnStop(func() { signal.Reset(syscall.SIGINT, syscall.SIGTERM) })
}

// stop gives the signals back, SIGHUP and SIGPIPE excepted.
func (s *signals) stop() {
	s.cancel()
	<-s.ended
	signal.Reset(syscall.SIGINT, syscall.SIGTERM)
}

// hasTerminal reports whether the process has a controlling terminal. The kernel takes it
// from all processes of a session before it sends one SIGHUP because the terminal is gone.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
