// Package api is what a client calls: events go in and are asked for, over HTTP.
//
//	connection -> Listen -> Server -> front: request id, panics, one log line
//	                                    -> routes: one HTTP function a file
//	                                         -> store: durable, then the answer
//
// An endpoint returns nil after it has answered, or an error. Every error becomes
// an answer in one place, see problem.go.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/functions"
)

// DefaultMaxEvent bounds the body of a request with one event, in bytes.
const DefaultMaxEvent = 1 << 20

// maxHeld bounds the bodies of all requests together, in bytes, from their first
// byte until their event is written. Past it new ones are answered 503, but for small
// ones (of firstRead), which have smallHeld beside it: a few senders of large bodies
// that never end could else keep all others out.
const (
	maxHeld   = 256 << 20
	smallHeld = 64 << 20
)

// store is what the API needs of the storage; db.Store says what each promises.
type store interface {
	Append(ctx context.Context, ev db.Event) (db.Receipt, error)
	AppendBatch(ctx context.Context, b db.Batch) ([]db.AppendResult, error)
	Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error)
	Events(ctx context.Context, f db.Filter) ([]db.StoredEvent, error)
	Wait(ctx context.Context, seq int64, stop <-chan struct{}) (*db.Result, error)
	Account(ctx context.Context, clientID string) (db.Account, error)
	Accounts(ctx context.Context, f db.AccountFilter) ([]db.Account, error)
	Execute(ctx context.Context, a db.Command) (db.CommandResult, error)
	ExecuteAll(ctx context.Context, b db.BulkCommand) (db.BulkResult, error)
	Erase(clientID, who, reason string) (db.EraseReport, error)
	Audit(ctx context.Context, f db.AuditFilter) ([]db.AuditEntry, error)
	Dead(ctx context.Context, f db.DeadFilter) ([]db.StoredEvent, error)
	Runs(ctx context.Context, seq int64) ([]db.Result, error)
	Pauses(ctx context.Context) ([]db.PausedType, error)
	DrainRate() (runnable int, perSecond float64)
	Ready() error
}

// Options of New and Admin. Store is needed by both, Functions by New.
type Options struct {
	Store     store
	Functions *functions.Set
	Log       *slog.Logger // nil: nothing is logged
	MaxEvent  int64        // bytes of an event as it is sent; 0: DefaultMaxEvent
	MaxBody   int64        // bytes of a batch; 0: DefaultMaxBody; at least MaxEvent
	MaxBatch  int          // events of a batch; 0: DefaultMaxBatch
	Tokens    *Tokens      // nil: everyone may do everything

	// ClientRate bounds the events of one client_id a second (0: no bound), ClientBurst
	// how many may come at once (0: those of one second).
	ClientRate  float64
	ClientBurst int

	// Hosts are the names that clients may call the server by, beside those of the
	// machine itself. None: any name.
	Hosts []string

	// Proxies are those whose X-Forwarded-For and X-Forwarded-Proto go into the log.
	Proxies Proxies

	// Warning says what is wrong with the certificates, for people; "" for nothing.
	// /readyz passes it on and stays ready. May be nil.
	Warning func() string

	// AccountState says what the process does with an account now: idle, ready,
	// running, retrying, parked or stuck. Nil: the file alone is asked.
	AccountState func(clientID string) string

	// Stopping is closed when shutdown begins: from then on new events are refused,
	// /readyz says no, and what Prefer: wait holds is answered at once. Nil: never.
	Stopping <-chan struct{}

	// Streams counts the connections and requests that send events for as long as
	// they like. Nil: New makes one, and nobody can wait for them.
	Streams *Streams

	Now func() time.Time // nil: time.Now

	// Profiles lets whoever reaches the admin address see profiles of the process,
	// with a token of scope operate where Tokens has any. Without tokens it is for an
	// address that only this machine reaches.
	Profiles bool

	Observer Observer // nil: nobody

	// LogLevel is what GET and PUT /loglevel on the admin address show and set, for
	// whom Profiles is for; nil: nothing does.
	LogLevel *slog.LevelVar

	// Metrics answers GET /metrics on the admin address; nil: nothing does. OpenMetrics
	// asks for no token, where Tokens has any it is one of scope read else.
	Metrics     http.Handler
	OpenMetrics bool
}

type api struct {
	Options
	held    atomic.Int64 // bytes of bodies that are in memory, at most about maxHeld
	rates   *rates
	hosts   map[string]struct{}
	origins http.CrossOriginProtection
}

// New returns the handler of the public address. It is an error if the pattern of
// an HTTP function is invalid or clashes with another.
func New(o Options) (http.Handler, error) {
	if o.Store == nil || o.Functions == nil {
		return nil, errors.New("api: Store and Functions are needed")
	}
	a := &api{Options: o.complete(), rates: newRates(o.ClientRate, o.ClientBurst), hosts: hosts(o.Hosts)}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /v1/events", a.endpoint(a.postEvents))
	routes.HandleFunc("GET /v1/stream", a.endpoint(a.stream))
	routes.HandleFunc("GET /v1/events", a.endpoint(a.listEvents))
	routes.HandleFunc("GET /v1/events/{client_id}/{message_id}", a.endpoint(a.getEvent))
	routes.HandleFunc("GET /v1/accounts", a.endpoint(a.listAccounts))
	routes.HandleFunc("GET /v1/accounts/{client_id}", a.endpoint(a.getAccount))
	for _, verb := range []db.Verb{db.Pause, db.Resume, db.Retry, db.Skip, db.Replay} {
		routes.HandleFunc("POST /v1/accounts/{client_id}/"+string(verb), a.endpoint(a.actOnAccount(verb)))
	}
	for _, verb := range []db.Verb{db.Pause, db.Resume} {
		routes.HandleFunc("POST /v1/types/{type}/"+string(verb), a.endpoint(a.actOnType(verb)))
		routes.HandleFunc("POST /v1/"+string(verb), a.endpoint(a.actOnEverything(verb)))
	}
	for _, verb := range []db.Verb{db.Retry, db.Skip} {
		routes.HandleFunc("POST /v1/accounts/"+string(verb), a.endpoint(a.actOnParked(verb)))
	}
	routes.HandleFunc("POST /v1/accounts/{client_id}/erase", a.endpoint(a.erase))
	routes.HandleFunc("GET /v1/types", a.endpoint(a.listTypes))
	routes.HandleFunc("GET /v1/dead", a.endpoint(a.listDead))
	routes.HandleFunc("POST /v1/dead/redrive", a.endpoint(a.redrive))
	routes.HandleFunc("GET /v1/events/{client_id}/{message_id}/runs", a.endpoint(a.listRuns))
	routes.HandleFunc("GET /v1/audit", a.endpoint(a.listAudit))
	routes.HandleFunc("GET /v1/openapi.yaml", a.endpoint(a.openAPI))
	for _, f := range o.Functions.All() {
		pattern, fn := f.HTTP()
		if fn == nil {
			continue
		}
		if err := mount(routes, pattern, a.endpoint(a.httpFunction(fn))); err != nil {
			return nil, err
		}
	}
	return a.front(routes), nil
}

// Admin returns the handler of the admin address: /healthz and /readyz, both without
// a token, metrics, and for operators profiles and the log level.
func Admin(o Options) http.Handler {
	a := &api{Options: o.complete()}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /healthz", a.endpoint(a.healthz))
	routes.HandleFunc("GET /readyz", a.endpoint(a.readyz))
	if o.Metrics != nil {
		routes.HandleFunc("GET /metrics", a.endpoint(a.metrics))
	}
	if o.Profiles {
		routes.HandleFunc("GET /debug/pprof/{$}", a.endpoint(a.profiles))
		routes.HandleFunc("GET /debug/pprof/{name}", a.endpoint(a.profiles))
		if o.LogLevel != nil {
			routes.HandleFunc("GET /loglevel", a.endpoint(a.logLevel))
			routes.HandleFunc("PUT /loglevel", a.endpoint(a.logLevel))
		}
	}
	return a.front(routes)
}

func (o Options) complete() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxEvent <= 0 {
		o.MaxEvent = DefaultMaxEvent
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	o.MaxBody = max(o.MaxBody, o.MaxEvent)
	if o.MaxBatch <= 0 {
		o.MaxBatch = DefaultMaxBatch
	}
	if o.Streams == nil {
		o.Streams = NewStreams(0)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	return o
}

// mount makes ServeMux's panic about a pattern an error: the pattern may come from
// a function that somebody else wrote.
func mount(routes *http.ServeMux, pattern string, h http.HandlerFunc) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("api: mount HTTP function %q: %v", pattern, v)
		}
	}()
	routes.HandleFunc(pattern, h)
	return nil
}

// stopped reports whether shutdown has begun.
func (a *api) stopped() bool {
	select {
	case <-a.Stopping:
		return true
	default:
		return false
	}
}
