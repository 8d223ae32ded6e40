package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/oklog/run"
	"golang.org/x/term"

	"inturn/cli"
	"inturn/db"
	"inturn/functions"
	"inturn/functions/api"
	"inturn/functions/hook"
	"inturn/logs"
	"inturn/metrics"
	"inturn/runner"
)

// serve is the command's flags.
type serve struct {
	DB     string `name:"db" help:"Database file; its folders are made." default:"data/inturn.db" env:"INTURN_DB"`
	Listen string `help:"Address for clients." default:"127.0.0.1:8443" env:"INTURN_LISTEN"`
	Admin  string `help:"Address for health checks, metrics, profiles and the log level." default:"127.0.0.1:9091" env:"INTURN_ADMIN"`

	tlsFlags

	TokenFile      string `help:"File of hashed tokens with their scopes." env:"INTURN_TOKEN_FILE" placeholder:"FILE"`
	InsecureNoAuth bool   `help:"Serve beyond loopback without tokens: everyone may do everything." env:"INTURN_INSECURE_NO_AUTH"`

	Pollers  int `help:"Pollers that take turns. 0: one a processor (GOMAXPROCS)." default:"0" env:"INTURN_POLLERS"`
	InFlight int `help:"Accounts that may be inside a function at once." default:"16384" env:"INTURN_IN_FLIGHT"`
	Slice    int `help:"Events after which an account's turn passes on if others wait." default:"64" env:"INTURN_SLICE"`

	MaxEvent          byteSize `help:"Longest body of a request with one event." default:"1MiB" env:"INTURN_MAX_EVENT"`
	MaxBody           byteSize `help:"Longest body of a batch." default:"8MiB" env:"INTURN_MAX_BODY"`
	MaxBatch          int      `help:"Events of one batch." default:"1000" env:"INTURN_MAX_BATCH"`
	MaxPending        int      `help:"Pending events in all; past it: 503." default:"10000000" env:"INTURN_MAX_PENDING"`
	MaxAccountPending int      `help:"Pending events of one account; past it: 429." default:"1000000" env:"INTURN_MAX_ACCOUNT_PENDING"`
	ClientRate        float64  `help:"Events of one client_id a second; past it: 429, and a stream is read slower. 0: no bound." default:"0" env:"INTURN_CLIENT_RATE"`
	ClientBurst       int      `help:"Events of one client_id at once. 0: those of one second." default:"0" env:"INTURN_CLIENT_BURST"`
	MaxConnections    int      `help:"Connections at once; further ones wait." default:"10000" env:"INTURN_MAX_CONNECTIONS"`

	Function              []string      `help:"TYPE=URL: events of this type are POSTed to this endpoint, signed with INTURN_FUNCTION_SECRET_<TYPE> or INTURN_FUNCTION_SECRET; may be repeated." sep:" " env:"INTURN_FUNCTION" placeholder:"TYPE=URL"`
	FunctionMaxConcurrent int           `help:"Calls of one endpoint's type at the same time." default:"64" env:"INTURN_FUNCTION_MAX_CONCURRENT,INTURN_FUNCTION_AT_ONCE" aliases:"function-at-once"`
	FunctionTimeout       time.Duration `help:"How long an endpoint may take for one event." default:"30s" env:"INTURN_FUNCTION_TIMEOUT"`
	InsecureFunctions     bool          `help:"Let --function name private addresses, and plain http:// beyond loopback." env:"INTURN_INSECURE_FUNCTIONS"`

	Drain        time.Duration `help:"How long functions may go on after SIGTERM." default:"30s" env:"INTURN_DRAIN"`
	ExitWhenIdle time.Duration `help:"End with status 0 after so long without a connection and with nothing to run, now or later, for platforms that start a process with the next connection. 0: never." default:"0" env:"INTURN_EXIT_WHEN_IDLE"`
	Retention    time.Duration `help:"Delete events so long after they were finished, such as 720h; a repeat is then a new event. 0: keep everything." default:"0" env:"INTURN_RETENTION"`
	LogLevel     string        `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"INTURN_LOG_LEVEL"`

	quiet bool // no curl line
}

const (
	defaultDrain = 30 * time.Second
	// watchdogAfter is how long the end may take beyond the drain before the process
	// is ended the hard way, which loses nothing. The platform's kill time must be
	// above both together.
	watchdogAfter = 20 * time.Second
	streamsEnd    = 5 * time.Second // at least, for the answers to what streams have sent
	serverEnd     = 5 * time.Second // for the answers that are still owed once the functions have ended
)

// addresses are those really bound.
type addresses struct {
	public, admin string
	plain         string // for plain HTTP beside HTTPS, "" for none
	ca            string // file, "" without self-signed TLS
}

// Validate says what is wrong with the flags; kong calls it.
func (s *serve) Validate() error {
	for _, a := range []struct{ flag, addr string }{{"listen", s.Listen}, {"admin", s.Admin}, {"http-listen", s.HTTPListen}} {
		if a.addr == "" && a.flag == "http-listen" {
			continue
		}
		if err := checkAddress(a.flag, a.addr); err != nil {
			return err
		}
	}
	if s.DB == "" {
		return errors.New("--db names no file")
	}
	for flag, n := range map[string]int{"in-flight": s.InFlight, "slice": s.Slice, "max-pending": s.MaxPending,
		"max-account-pending": s.MaxAccountPending, "max-connections": s.MaxConnections, "max-event": int(s.MaxEvent),
		"max-body": int(s.MaxBody), "max-batch": s.MaxBatch} {
		if n < 1 {
			return fmt.Errorf("--%s must be at least 1", flag)
		}
	}
	if s.Retention != 0 && s.Retention < time.Second {
		return errors.New("--retention must be at least 1s, or 0")
	}
	if s.Pollers < 0 || s.Drain < 0 || s.ExitWhenIdle < 0 || !(s.ClientRate >= 0) || s.ClientBurst < 0 {
		return errors.New("--pollers, --drain, --exit-when-idle, --client-rate and --client-burst must not be negative")
	}
	if err := s.tlsFlags.validate(); err != nil {
		return err
	}
	if len(s.Function) > 0 {
		return s.validateWebhooks()
	}
	return nil
}

// Run is `inturn serve`.
func (s *serve) Run(ctx context.Context, set *functions.Set, out cli.IO) error {
	return s.run(ctx, set, out.Out, out.Err, func(addresses) {})
}

// run serves until ctx ends, a signal comes, or a part of it fails. What it took by
// then is committed and answered.
func (s *serve) run(ctx context.Context, set *functions.Set, out, errOut io.Writer, ready func(addresses)) (err error) {
	log, level, flush := s.logger(errOut)
	defer flush()
	tokens, err := s.tokens()
	if errors.Is(err, fs.ErrNotExist) {
		return &cli.Hint{Err: fmt.Errorf("serve: %w", err), Hint: "make it: inturn token new NAME --token-file " + s.TokenFile}
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	var store *db.DB // before anything is called
	webhooks, err := s.webhooks(set, log, func() int64 { return store.Epoch() })
	if err != nil {
		return err
	}
	defer webhooks.Close()
	if set, err = functions.NewSet(slices.Concat(set.All(), webhooks.Functions(), []functions.Function{hook.Function(tokens.Secrets)})...); err != nil {
		return fmt.Errorf("serve: %w", err)
	}

	numbers := metrics.New(set.Names(), version)
	watchdog := newWatchdog(log)
	defer watchdog.Stop()

	// From here on a signal always finds somebody: it ends the wait for the database,
	// or the group. Once the group stops, the next one ends the process at once.
	signals, endAtOnce := notifyContext(ctx)
	defer endAtOnce()
	store, err = db.Open(signals, db.Options{
		Path: s.DB, Schema: schema, Tables: set.Tables(), Erasures: set.Erasures(), Check: set.Check,
		MaxPending: s.MaxPending, MaxAccountPending: s.MaxAccountPending, Log: log, Observer: numbers,
	})
	if err != nil {
		return s.explain(err)
	}
	// The committer outlives the group: it answers whoever is still in it.
	defer func() {
		if cerr := store.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("serve: %w", cerr)
		}
	}()
	turns := runner.New(runner.Options{
		Store: store, Functions: set, Log: log, Observer: numbers, Pollers: s.Pollers, InFlight: s.InFlight, Slice: s.Slice,
	})
	store.OnChange(turns.Changed)
	store.OnAppend(turns.Appended)
	turns.Start(store.Backlog())

	stopping, streams := make(chan struct{}), api.NewStreams(0)
	doors, err := s.open(s.Listen, s.MaxConnections, log)
	if err != nil {
		return err
	}
	defer doors.Close()
	admin, err := api.Listen(s.Admin, 256)
	if err != nil {
		return explainListen("--admin", fmt.Errorf("serve: admin: %w", err))
	}
	defer admin.Close()
	certs, err := s.certificates(doors, log)
	if err != nil {
		return err
	}
	defer certs.close()
	options := api.Options{
		Store: store, Functions: set, Log: log, MaxEvent: int64(s.MaxEvent), MaxBody: int64(s.MaxBody), MaxBatch: s.MaxBatch,
		Tokens: tokens, Profiles: tokens != nil || isLoopback(s.Admin), LogLevel: level, Observer: numbers, Stopping: stopping, Streams: streams, ClientRate: s.ClientRate, ClientBurst: s.ClientBurst, Hosts: s.Domain,
		Proxies: doors.proxies, Warning: certs.warning,
		AccountState: func(clientID string) string { return string(turns.State(clientID)) },
	}
	if tokens != nil || s.InsecureNoAuth || isLoopback(s.Admin) {
		options.Metrics, options.OpenMetrics = numbers.Handler(log), isLoopback(s.Admin)
	}
	handler, err := api.New(options)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	numbers.Watch(metrics.Sources{Storage: store, Turns: turns, Streams: streams, CertificateEnd: certs.notAfter, EndpointsDown: webhooks.Down})
	bound := addresses{public: doors.public.Addr().String(), plain: doors.plainAddr(), admin: admin.Addr().String(), ca: certs.caFile}
	var door *gate // nil: the process never sleeps
	if s.ExitWhenIdle > 0 {
		door = newGate(doors.public)
		doors.public, handler = door, door.requests(handler)
	}

	// The first actor to end ends them all; each is then interrupted in this order.
	var g run.Group
	stop := sync.OnceFunc(func() {
		endAtOnce()
		watchdog.Reset(s.Drain + watchdogAfter)
		close(stopping) // before the line, which says that events are refused from now on
		log.Info("stopping", "drain", s.Drain)
	})
	g.Add(run.ContextHandler(signals))
	g.Add(func() error { // the storage: it can only fail
		select {
		case <-store.Failed():
			return store.Err()
		case <-stopping:
			return nil
		}
	}, func(error) {
		if store.Err() != nil {
			turns.Abort()
		}
		stop()
	})
	g.Add(func() error { // net/http doesn't wait for connections that are WebSockets
		<-stopping
		ctx, cancel := context.WithTimeout(context.Background(), max(s.Drain, streamsEnd))
		defer cancel()
		_ = streams.Wait(ctx) // who is not done by then resends
		return nil
	}, func(error) { stop() })
	if door != nil {
		g.Add(func() error {
			if untilIdle(stopping, door, s.ExitWhenIdle, turns.Busy) {
				log.Info("nothing to do; ending", "for", s.ExitWhenIdle)
			}
			return nil
		}, func(error) { stop() })
	}
	if s.Retention > 0 {
		retaining, end := context.WithCancel(context.Background())
		g.Add(func() error {
			store.Retain(retaining, s.Retention)
			<-retaining.Done() // where the storage has failed, that is told by its own actor
			return nil
		}, func(error) { end() })
	}
	hangup := make(chan os.Signal, 1)
	if s.TokenFile != "" { // else it ends the process, as it does for a closed terminal
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
	}
	watching, unwatch := context.WithCancel(context.Background())
	g.Add(func() error {
		tokens.Watch(watching, hangup, log)
		return nil
	}, func(error) { unwatch() })
	keeping, letGo := context.WithCancel(context.Background())
	g.Add(func() error {
		certs.run(keeping)
		return nil
	}, func(error) { letGo() })
	turns.AddTo(&g, s.Drain)
	// The servers outlive all that: while functions drain they answer what they can,
	// and say 503 to new events and on /readyz.
	var group run.Group
	drained := make(chan struct{})
	done := sync.OnceFunc(func() { close(drained) })
	group.Add(g.Run, func(error) { stop() })
	server := api.Server(handler, certs.config, log)
	server.ConnState = numbers.Connection
	addServer(&group, server, doors.public, drained, done)
	if doors.plain != nil {
		addServer(&group, api.Server(certs.challenges(api.Redirect(options, publicPort(doors))), nil, log), doors.plain, drained, done)
	}
	addServer(&group, api.Server(api.Admin(options), nil, log), admin, drained, done)

	s.sayReady(out, log, bound, tokens != nil)
	ready(bound)
	err = group.Run()
	if err == nil || errors.Is(err, context.Canceled) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		log.Info("stopped")
		return nil
	}
	return s.explain(err)
}

// addServer adds an HTTP server that, once told to stop, lets its requests end.
func addServer(g *run.Group, srv *http.Server, ln net.Listener, stopping <-chan struct{}, stop func()) {
	g.Add(func() error {
		failed := make(chan error, 1)
		go func() {
			if srv.TLSConfig != nil {
				failed <- srv.ServeTLS(ln, "", "")
			} else {
				failed <- srv.Serve(ln)
			}
		}()
		select {
		case err := <-failed:
			return err
		case <-stopping:
		}
		ctx, cancel := context.WithTimeout(context.Background(), serverEnd)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
		<-failed
		return nil
	}, func(error) { stop() })
}

// newWatchdog ends the process where an orderly end takes too long after Reset.
// Whatever it cuts short is as after a crash: nothing that was answered is lost.
func newWatchdog(log *slog.Logger) *time.Timer {
	t := time.AfterFunc(time.Hour, func() {
		log.Error("the orderly end takes too long; ending at once")
		os.Exit(70)
	})
	t.Stop()
	return t
}

// notifyContext ends with the first signal.
func notifyContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
}

func (s *serve) tlsDir() string {
	if s.TLSDir != "" {
		return s.TLSDir
	}
	return filepath.Join(filepath.Dir(s.DB), "tls")
}

// tokens loads them, and refuses to serve the world without any.
func (s *serve) tokens() (*api.Tokens, error) {
	tokens, err := api.LoadTokens(s.TokenFile, os.Getenv("INTURN_TOKEN"))
	if err != nil || tokens != nil || s.InsecureNoAuth {
		return tokens, err
	}
	const everyone = "and there are no tokens: everyone could do everything"
	switch {
	case !isLoopback(s.Listen):
		return nil, &cli.Hint{
			Err:  fmt.Errorf("%s is not loopback, %s", s.Listen, everyone),
			Hint: "set INTURN_TOKEN or --token-file, or listen on 127.0.0.1, or say --insecure-no-auth",
		}
	case s.forTheWorld():
		return nil, &cli.Hint{
			Err:  fmt.Errorf("--tls acme and --trusted-proxy are for clients from elsewhere, %s", everyone),
			Hint: "set INTURN_TOKEN or --token-file, or say --insecure-no-auth",
		}
	}
	return nil, nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// logger writes to w. Its level can be changed while the process runs; flush writes
// how much of a flood was left out.
func (s *serve) logger(w io.Writer) (log *slog.Logger, level *slog.LevelVar, flush func()) {
	level = &slog.LevelVar{}
	_ = level.UnmarshalText([]byte(s.LogLevel)) // kong has checked it
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(w, o)
	if isTerminal(w) {
		h = slog.NewTextHandler(w, o)
	}
	h, flush = logs.Flood(h)
	return slog.New(h), level, flush
}

// sayReady logs the addresses, and on a terminal prints a line that can be pasted.
func (s *serve) sayReady(out io.Writer, log *slog.Logger, a addresses, auth bool) {
	url := s.url(a)
	log.Info("ready", "listen", a.public, "http_listen", a.plain, "admin", a.admin, "url", url, "db", s.DB, "ca", a.ca, "version", version)
	if s.quiet || !isTerminal(out) {
		return
	}
	line := "curl"
	if a.ca != "" {
		line += " --cacert " + a.ca
	}
	if auth {
		line += ` -H "Authorization: Bearer $INTURN_TOKEN"`
	}
	fmt.Fprintf(out, "\n  %s %s/v1/events -d '{\"client_id\":\"a\",\"message_id\":\"1\",\"payload\":{\"phone\":\"+70000000001\",\"text\":\"hello\"}}'\n\n",
		line, url)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// byteSize is a flag like 1MiB or 4096.
type byteSize int64

// UnmarshalText reads the flag's text.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<30 {
		return fmt.Errorf("%q is not a size of up to 1 GiB, such as 1MiB", text)
	}
	*b = byteSize(n)
	return nil
}
