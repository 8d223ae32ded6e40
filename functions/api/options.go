package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"inturn/functions"
)

// DefaultMaxEvent bounds the body of a request with one event, in bytes.
const DefaultMaxEvent = 1 << 20

// Page is the web page at the admin address.
type Page interface {
	http.Handler
	Patterns() []string // of the requests that it answers, in ServeMux's form
}

// Options of New and Admin. Store is needed by both, Functions by New.
type Options struct {
	Store      Store
	Functions  *functions.Set
	Log        *slog.Logger // nil: nothing is logged
	MaxEvent   int64        // bytes of an event as it is sent; 0: DefaultMaxEvent
	MaxBody    int64        // bytes of a batch; 0: DefaultMaxBody; at least MaxEvent
	MaxBatch   int          // events of a batch; 0: DefaultMaxBatch
	MaxAnswers int64        // bytes that all answers together hold; 0: DefaultMaxAnswers
	Tokens     *Tokens      // nil: everyone may do everything

	// ClientRate bounds the events of one client_id a second (0: no bound), ClientBurst
	// how many may come at once (0: those of one second).
	ClientRate  float64
	ClientBurst int

	// Hosts are the names that clients may call the server by, beside those of the
	// machine itself. None: any name.
	Hosts []string

	// AdminHosts are further names that the admin address may be called by, beside those
	// of the machine itself, IP addresses and Hosts.
	AdminHosts []string

	// Proxies are those whose X-Forwarded-For and X-Forwarded-Proto go into the log.
	Proxies Proxies

	// Warning says for people what is wrong while events are taken; "" for nothing.
	// /readyz passes it on and stays ready. May be nil.
	Warning func() string

	// AccountState says what the process does with an account now: idle, ready,
	// running, retrying, parked or stuck. Nil: the file alone is asked.
	AccountState func(clientID string) string

	// MissingTypes says of types that have no function how many accounts wait for one; nil:
	// that isn't known.
	MissingTypes func() map[string]int

	// Status says how the server stands, for GET /v1/status; nil: that isn't known.
	Status func(ctx context.Context) (Status, error)

	// Feed is what GET /v1/watch tells; nil: that can't be asked.
	Feed *Feed

	// Stopping is closed when shutdown begins: from then on new events are refused,
	// /readyz says no, and what Prefer: wait holds is answered at once. Nil: never.
	Stopping <-chan struct{}

	// Closing is closed when the last requests are awaited: from then on each new one to
	// the public address is refused. Nil: never.
	Closing <-chan struct{}

	// Streams counts the connections and requests that send events for as long as
	// they like. Nil: New makes one, and a shutdown can't wait for its streams.
	Streams *Streams

	Now func() time.Time // nil: time.Now

	// Profiles shows profiles of the process on the admin address, for a token of scope
	// operate where Tokens has any. Without tokens it is for an
	// address that only this machine reaches.
	Profiles bool

	Observer Observer // nil: nobody

	// LogLevel is what GET and PUT /loglevel on the admin address show and set, with
	// the same rights as Profiles; nil: no log level is shown.
	LogLevel *slog.LevelVar

	// Page answers the requests for its patterns on the admin address, and asks for tokens itself;
	// nil: there is no page.
	Page Page

	// Metrics answers GET /metrics on the admin address; nil: nothing does. OpenMetrics
	// asks for no token, where Tokens has any it is one of scope read else.
	Metrics     http.Handler
	OpenMetrics bool

	// ConfigSchema is the JSON Schema of the configuration file, which GET
	// /v1/config.schema.json answers with; nil: one that takes anything.
	ConfigSchema []byte
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
	if o.MaxAnswers <= 0 {
		o.MaxAnswers = DefaultMaxAnswers
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = DefaultMaxBatch
	}
	if o.ConfigSchema == nil {
		o.ConfigSchema = []byte("{}")
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
