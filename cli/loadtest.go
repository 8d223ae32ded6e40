package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// LoadTest is System B's tester, in a process of its own: it offers messages at a
// fixed rate whether or not they are answered, waits until what was accepted is
// processed, and judges by what the API then shows.
type LoadTest struct {
	Client
	Rate        int           `help:"Requests a second." default:"10000" env:"INTURN_RATE"`
	Duration    time.Duration `help:"How long requests are sent." default:"30s" env:"INTURN_DURATION"`
	Clients     int           `help:"Number of clients; each sends a random number of messages." default:"1000" env:"INTURN_CLIENTS"`
	Valid       int           `help:"Share of new, valid messages." default:"90" env:"INTURN_VALID"`
	Duplicates  int           `help:"Share of messages that were sent before: half at once over another connection, half later." default:"5" env:"INTURN_DUPLICATES"`
	Invalid     int           `help:"Share of messages that must be refused." default:"5" env:"INTURN_INVALID"`
	Connections int           `help:"TLS connections; the requests of one client take turns on one of them." default:"512" env:"INTURN_CONNECTIONS"`
	Patience    time.Duration `help:"How long nothing may be answered, or processed, before the test gives up." default:"1m" env:"INTURN_PATIENCE"`
	Seed        uint64        `help:"The same seed offers the same messages, with ids of their own." default:"1" env:"INTURN_SEED"`
	JSON        bool          `help:"Print the result as JSON." env:"INTURN_JSON"`
}

// maxShots bounds the requests, of which the tester keeps about 50 bytes each.
const maxShots = 20_000_000

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (l LoadTest) Validate() error {
	switch {
	case l.Rate < 1 || l.Rate > 1_000_000:
		return errors.New("--rate must be 1 to 1000000")
	case l.Duration <= 0 || l.Duration > 24*time.Hour:
		return errors.New("--duration must be more than 0, at most 24h")
	case l.shots() < 1 || l.shots() > maxShots:
		return fmt.Errorf("--rate times --duration must be 1 to %d requests", maxShots)
	case l.Clients < 1 || l.Clients > 1_000_000:
		return errors.New("--clients must be 1 to 1000000")
	case l.Valid < 0 || l.Duplicates < 0 || l.Invalid < 0 || l.Valid+l.Duplicates+l.Invalid > 1_000_000:
		return errors.New("--valid, --duplicates and --invalid are shares, 0 or more")
	case l.Valid == 0:
		return errors.New("--valid must be at least 1: a duplicate needs a message")
	case l.Connections < 1 || l.Connections > 50_000:
		return errors.New("--connections must be 1 to 50000")
	case l.Patience <= 0:
		return errors.New("--patience must be more than 0")
	}
	return nil
}

func (l LoadTest) shots() int { return int(float64(l.Rate) * l.Duration.Seconds()) }

// Run returns an error if the API shows that something was lost, processed twice or
// out of turn, if an answer was wrong, or if a request got none. A refusal for
// overload is none of these: it is counted.
func (l LoadTest) Run(ctx context.Context, out IO) error {
	if err := l.mayVerify(ctx); err != nil {
		return fmt.Errorf("loadtest: %w", err)
	}
	p := newPlan(l, rand.Text()[:10])
	progress := newMeter(out.Err, len(p.shots))
	lt, err := l.fire(ctx, p, progress)
	progress.end()
	if err != nil {
		return fmt.Errorf("loadtest: %w", unreached(err))
	}
	v := newVerifier(p, lt.answers)
	progress = newMeter(out.Err, v.accepted)
	progress.what = "verified"
	err = v.read(ctx, l.Client, l.Patience, progress)
	progress.end()
	if err != nil {
		return fmt.Errorf("loadtest: verify: %w", err)
	}
	r := l.report(p, lt, v)
	if l.JSON {
		err = json.NewEncoder(out.Out).Encode(r)
	} else {
		err = r.print(out.Out, l)
	}
	if err != nil {
		return err
	}
	return r.err(v.examples)
}

// mayVerify asks for what will be asked for in the end, so that a wrong address or token
// is reported before anything is offered.
func (l LoadTest) mayVerify(ctx context.Context) error {
	a, err := l.asker()
	if err != nil {
		return err
	}
	defer a.close()
	return a.get(ctx, "/v1/events?limit=1", new(eventPage))
}
