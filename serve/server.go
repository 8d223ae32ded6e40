// Package serve is the server, and the program around it: Main is all of a main
// function, Server is one server as a value.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"

	"inturn/cli"
	"inturn/config"
	"inturn/functions"
	"inturn/functions/api"
	"inturn/logs"
	"inturn/metrics"
	"inturn/page"
	"inturn/runner"
	"inturn/schedules"
)

// Server is one inturn server: a database, what runs its events, and the addresses where
// events come in.
type Server struct {
	config Config
	out    io.Writer
	lines  *logs.Log
	log    *slog.Logger // of lines
	level  *slog.LevelVar
	closes []func() error // what is open, in the order of opening

	tokens    *api.Tokens // nil: everyone may do everything
	assembler *assembler
	assembly  atomic.Pointer[assembly]
	file      *config.Config   // as it was at the start; nil: there is none
	ticks     *schedules.Actor // makes the events of schedules
	numbers   *metrics.Metrics
	store     storage
	runner    *runner.Runner
	streams   *api.Streams

	clients *listeners
	admin   *yieldListener
	certs   *certificates
	idle    *idleListener  // nil: the process never sleeps
	public  *drainListener // around what clients has
	api     api.Options
	handler *api.Handler // of the public address
	page    *page.Page   // nil where the admin address could be reached without a token

	reload       chan os.Signal // makes the token file be read again
	reloadConfig chan os.Signal // makes the configuration be read again
	stopping     chan struct{}  // closed by stop
	closing      chan struct{}  // closed when no request is taken any more
	stop         func()         // new events are refused from now on
	onStop       []func()
}

// Addresses are those that a server listens on.
type Addresses struct {
	Public, Admin string
	Plain         string // for plain HTTP beside HTTPS, "" for none
	CA            string // file of the local CA, "" without self-signed TLS
}

// New opens the database, waiting for a server that owns it, and the addresses. ctx bounds
// that wait alone. Run must be called on what New returns: it closes it.
func New(ctx context.Context, config Config, set *functions.Set, out cli.IO) (*Server, error) {
	s := &Server{config: config, out: out.Out, reload: make(chan os.Signal, 1), reloadConfig: make(chan os.Signal, 1), stopping: make(chan struct{}), closing: make(chan struct{})}
	if err := s.open(ctx, set, out.Err); err != nil {
		_ = s.close() // what is wrong is err
		return nil, fmt.Errorf("serve: %w", err)
	}
	return s, nil
}

// Addr returns the addresses that are really bound.
func (s *Server) Addr() Addresses {
	return Addresses{Public: s.clients.public.Addr().String(), Plain: s.clients.plainAddr(), Admin: s.admin.Addr().String(), CA: s.certs.caFile}
}

// OnStop has f called once, before the server refuses the first event. It is called
// before Run.
func (s *Server) OnStop(f func()) { s.onStop = append(s.onStop, f) }

// open opens all parts in turn, each with what the ones before it have made.
func (s *Server) open(ctx context.Context, set *functions.Set, errOut io.Writer) error {
	s.openLog(errOut)
	for _, open := range []func() error{
		s.openTokens,
		func() error { return s.openFunctions(set) },
		func() error { return s.openStore(ctx) },
		s.listen,
		s.openCertificates,
		s.openAPI,
	} {
		if err := open(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) onClose(f func()) {
	s.closes = append(s.closes, func() error { f(); return nil })
}

// close closes what is open, the last first.
func (s *Server) close() (err error) {
	for _, f := range slices.Backward(s.closes) {
		err = errors.Join(err, f())
	}
	return err
}

func (s *Server) openTokens() (err error) {
	s.tokens, err = s.config.loadTokens()
	if errors.Is(err, fs.ErrNotExist) {
		return &cli.Hint{Err: err, Hint: "make it: inturn token new NAME --token-file " + s.config.TokenFile}
	}
	if weak := weakToken(os.Getenv("INTURN_TOKEN")); err == nil && weak != "" {
		s.log.Warn(weak)
	}
	return err
}

// sayUnknown logs which variables are misspelt. Those that the configuration file names are
// its own.
func (s *Server) sayUnknown() {
	unknown := slices.DeleteFunc(UnknownSettings(os.Environ()), func(name string) bool {
		return s.file != nil && slices.Contains(s.file.Variables, name)
	})
	if len(unknown) > 0 {
		s.log.Warn("nothing reads these variables of the environment", "names", unknown)
	}
}

// openFunctions adds to the functions of the program those that --function and the
// configuration file name.
func (s *Server) openFunctions(set *functions.Set) (err error) {
	s.assembler = &assembler{flags: &s.config, built: set, secrets: s.tokens.Secrets, epoch: func() int64 { return s.store.Epoch() }, log: s.log}
	if s.file, err = s.assembler.load(); err != nil {
		return err
	}
	s.sayUnknown()
	made, err := s.assembler.assemble(s.file, nil)
	if err != nil {
		return err
	}
	s.assembly.Store(made)
	s.onClose(func() { s.assembly.Load().webhooks.Close() })
	return nil
}

// openStore takes the database and gives the runner what is pending.
func (s *Server) openStore(ctx context.Context) (err error) {
	c, made := &s.config, s.assembly.Load()
	set := made.functions
	s.numbers = metrics.New(set.Names(), programVersion())
	if s.store, err = openStorage(ctx, c, set, s.check, s.log, s.numbers); err != nil {
		return c.explain(err)
	}
	s.closes = append(s.closes, s.store.Close) // after the group: it answers all that is still in it
	s.runner = runner.New(runner.Options{
		Store: s.store, Functions: set, Log: s.log, Observer: s.numbers, Pollers: c.Pollers, InFlight: c.InFlight, Slice: c.Slice,
	})
	s.runner.Start(s.store.Backlog())
	s.store.OnChange(s.runner.Changed)
	s.store.SetRunning(s.runner.Running)
	s.store.OnAppend(s.runner.Appended)
	s.ticks = schedules.New(schedules.Options{Store: checkedStore{s}, Log: s.log, Observer: s.numbers})
	s.ticks.Set(made.schedules)
	return nil
}

func (s *Server) listen() (err error) {
	bounds, err := s.config.connections(s.log)
	if err != nil {
		return err
	}
	if s.clients, err = s.config.listen(bounds, s.log); err != nil {
		return err
	}
	s.onClose(s.clients.close)
	if s.admin, err = listenBeside(s.config.Admin, bounds.side); err != nil {
		return explainListen("--admin", fmt.Errorf("admin: %w", err))
	}
	s.onClose(func() { s.admin.Close() })
	return nil
}

func (s *Server) openCertificates() (err error) {
	if s.certs, err = s.config.openCertificates(s.clients, s.log); err != nil {
		return err
	}
	s.onClose(s.certs.close)
	return nil
}

// openAPI makes the handlers of all addresses.
func (s *Server) openAPI() (err error) {
	c := &s.config
	s.streams = api.NewStreams(0)
	s.api = api.Options{
		Store: s.store, Functions: s.assembly.Load().functions, Log: s.log, MaxEvent: int64(c.MaxEvent), MaxBody: int64(c.MaxBody), MaxBatch: c.MaxBatch, MaxAnswers: int64(c.MaxAnswers),
		Tokens: s.tokens, Profiles: s.tokens != nil || isLoopback(c.Admin), LogLevel: s.level, Observer: s.numbers,
		Stopping: s.stopping, Closing: s.closing, Streams: s.streams, ClientRate: c.ClientRate, ClientBurst: c.ClientBurst, Hosts: c.hosts(s.tokens != nil), AdminHosts: c.AdminHost,
		Proxies: s.clients.proxies, Warning: s.warning,
		ConfigSchema: config.Schema(),
		AccountState: func(clientID string) string { return string(s.runner.State(clientID)) },
		MissingTypes: func() map[string]int { return s.runner.Stats().Missing },
		Status:       s.status,
		Feed:         api.NewFeed(s.store.Watch, 0),
	}
	if s.tokens != nil || c.InsecureNoAuth || isLoopback(c.Admin) {
		s.api.Metrics, s.api.OpenMetrics = s.numbers.Handler(s.log), isLoopback(c.Admin)
	}
	if s.handler, err = api.New(s.api); err != nil {
		return err
	}
	if s.api.Metrics != nil { // for the same people
		s.page = s.newPage()
		s.api.Page = s.page
	}
	s.numbers.Watch(metrics.Sources{Storage: s.store, Turns: s.runner, Streams: s.streams, CertificateEnd: s.certs.notAfter, EndpointsDown: func() map[string]bool { return s.assembly.Load().webhooks.Down() }, LogLost: s.lines.Lost})
	if c.ExitWhenIdle > 0 {
		s.idle = newIdleListener(s.clients.public)
		s.clients.public = s.idle
	}
	s.public = newDrainListener(s.clients.public)
	s.public.observe = s.numbers.Connection
	return nil
}
