package serve

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"inturn/cli"
)

// Config is the flags of `inturn serve`.
type Config struct {
	DB     string `name:"db" help:"Database file; its folders are made. Or the address of a PostgreSQL, postgres://…" default:"data/inturn.db" env:"INTURN_DB"`
	Schema string `name:"db-schema" help:"Schema of PostgreSQL; it is made." default:"inturn" env:"INTURN_DB_SCHEMA" placeholder:"NAME"`
	Node   string `help:"This process, for people, where it stands in PostgreSQL's tables. Default: the host name and the process id." env:"INTURN_NODE" placeholder:"NAME"`
	Listen string `help:"Address for clients." default:"127.0.0.1:8443" env:"INTURN_LISTEN"`
	Admin  string `help:"Address for health checks, metrics, profiles and the log level." default:"127.0.0.1:9091" env:"INTURN_ADMIN"`

	AdminHost []string `help:"A name that the admin address is called by, beside localhost, IP addresses and --domain's names; may be repeated." env:"INTURN_ADMIN_HOST" placeholder:"NAME"`

	TLSConfig

	TokenFile      string `help:"File of hashed tokens with their scopes." env:"INTURN_TOKEN_FILE" placeholder:"FILE"`
	InsecureNoAuth bool   `help:"Serve beyond loopback without tokens: everyone may do everything." env:"INTURN_INSECURE_NO_AUTH"`

	Pollers  int `help:"Pollers that take turns. 0: one a processor (GOMAXPROCS)." default:"0" env:"INTURN_POLLERS"`
	InFlight int `help:"Accounts that may be inside a function at once." default:"16384" env:"INTURN_IN_FLIGHT"`
	Slice    int `help:"Events after which an account's turn passes on if others wait." default:"64" env:"INTURN_SLICE"`

	MaxEvent          byteSize `help:"Longest body of a request with one event." default:"1MiB" env:"INTURN_MAX_EVENT"`
	MaxBody           byteSize `help:"Longest body of a batch." default:"8MiB" env:"INTURN_MAX_BODY"`
	MaxBatch          int      `help:"Events of one batch." default:"1000" env:"INTURN_MAX_BATCH"`
	MaxAnswers        byteSize `help:"Bytes of all answers together that wait to be read; past it: 503." default:"64MiB" env:"INTURN_MAX_ANSWERS"`
	MaxPending        int      `help:"Pending events in all; past it: 503." default:"10000000" env:"INTURN_MAX_PENDING"`
	MaxAccountPending int      `help:"Pending events of one account; past it: 429." default:"1000000" env:"INTURN_MAX_ACCOUNT_PENDING"`
	ClientRate        float64  `help:"Events of one client_id a second; past it: 429, and a stream is read slower. 0: no bound." default:"0" env:"INTURN_CLIENT_RATE"`
	ClientBurst       int      `help:"Events of one client_id at once. 0: those of one second." default:"0" env:"INTURN_CLIENT_BURST"`
	MaxConnections    int      `help:"Connections at once; further ones wait." default:"10000" env:"INTURN_MAX_CONNECTIONS"`

	File string `name:"config" help:"Configuration file (YAML): functions, schedules and hooks. Followed while it changes; what is wrong in it changes nothing." env:"INTURN_CONFIG" placeholder:"FILE"`

	Function              []string      `help:"TYPE=URL: events of this type are POSTed to this endpoint, signed with INTURN_FUNCTION_SECRET_<TYPE> or INTURN_FUNCTION_SECRET; may be repeated." sep:" " env:"INTURN_FUNCTION" placeholder:"TYPE=URL"`
	FunctionMaxConcurrent int           `help:"Calls of one endpoint's type at the same time." default:"64" env:"INTURN_FUNCTION_MAX_CONCURRENT,INTURN_FUNCTION_AT_ONCE" aliases:"function-at-once"`
	FunctionTimeout       time.Duration `help:"How long an endpoint may take for one event." default:"30s" env:"INTURN_FUNCTION_TIMEOUT"`
	InsecureFunctions     bool          `help:"Let --function name private addresses, and plain http:// beyond loopback." env:"INTURN_INSECURE_FUNCTIONS"`

	Drain        time.Duration `help:"How long functions may go on after SIGTERM." default:"30s" env:"INTURN_DRAIN"`
	ExitWhenIdle time.Duration `help:"End with status 0 after so long without a connection and with nothing to run, now or later, for platforms that start a process with the next connection. 0: never." default:"0" env:"INTURN_EXIT_WHEN_IDLE"`
	Retention    time.Duration `help:"Delete events so long after they were finished, such as 720h; a repeat is then a new event. 0: keep everything." default:"0" env:"INTURN_RETENTION"`
	LogLevel     string        `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"INTURN_LOG_LEVEL"`
}

// Validate says what is wrong with the flags; kong calls it.
func (c *Config) Validate() error {
	for _, a := range []struct{ flag, addr string }{{"listen", c.Listen}, {"admin", c.Admin}, {"http-listen", c.HTTPListen}} {
		if a.addr == "" && a.flag == "http-listen" {
			continue
		}
		if err := checkAddress(a.flag, a.addr); err != nil {
			return err
		}
	}
	if c.DB == "" {
		return errors.New("--db names no file")
	}
	if !cli.IsPostgres(c.DB) && strings.HasSuffix(c.DB, string(filepath.Separator)) {
		return fmt.Errorf("--db %s names a folder: name a file in it, such as %s", c.DB, filepath.Join(c.DB, "inturn.db"))
	}
	for flag, n := range map[string]int{"in-flight": c.InFlight, "slice": c.Slice, "max-pending": c.MaxPending,
		"max-account-pending": c.MaxAccountPending, "max-connections": c.MaxConnections, "max-event": int(c.MaxEvent),
		"max-body": int(c.MaxBody), "max-batch": c.MaxBatch, "max-answers": int(c.MaxAnswers)} {
		if n < 1 {
			return fmt.Errorf("--%s must be at least 1", flag)
		}
	}
	if c.Retention != 0 && c.Retention < time.Second {
		return errors.New("--retention must be at least 1s, or 0")
	}
	if c.Pollers < 0 || c.Drain < 0 || c.ExitWhenIdle < 0 || !(c.ClientRate >= 0) || c.ClientBurst < 0 {
		return errors.New("--pollers, --drain, --exit-when-idle, --client-rate and --client-burst must not be negative")
	}
	if err := c.TLSConfig.validate(); err != nil {
		return err
	}
	if len(c.Function) > 0 || c.File != "" {
		return c.validateWebhooks()
	}
	return nil
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
