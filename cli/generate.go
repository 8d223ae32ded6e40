package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
)

// Generate writes client messages as CSV.
type Generate struct {
	File         string `arg:"" help:"File to write, which must not be there; - is standard output."`
	Events       int    `help:"Number of messages." default:"10000" env:"INTURN_EVENTS"`
	Clients      int    `help:"Number of clients." default:"1000" env:"INTURN_CLIENTS"`
	Type         string `help:"Type of the messages: work or message." enum:"work,message" default:"work" env:"INTURN_TYPE"`
	Distribution string `help:"How messages are spread over clients: even, random or zipf." enum:"even,random,zipf" default:"even" env:"INTURN_DISTRIBUTION"`
	Force        bool   `help:"Replace FILE if it is there." env:"INTURN_FORCE"`
	Seed         uint64 `help:"The same seed gives the same file." default:"1" env:"INTURN_SEED"`
}

// One client takes a few bytes of memory, an event none.
const (
	maxGenerated = 1_000_000_000
	maxClients   = 10_000_000
)

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (g Generate) Validate() error {
	if g.Events < 1 || g.Events > maxGenerated {
		return fmt.Errorf("--events must be 1 to %d", maxGenerated)
	}
	if g.Clients < 1 || g.Clients > maxClients {
		return fmt.Errorf("--clients must be 1 to %d", maxClients)
	}
	return nil
}

// Run writes the file, which gets its name once it is complete.
func (g Generate) Run(ctx context.Context, out IO) error {
	if err := g.run(ctx, out.Out); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	return nil
}

func (g Generate) run(ctx context.Context, out io.Writer) error {
	stream, err := streamTo(g.File, out)
	if err != nil {
		return err
	}
	if stream != nil {
		return errors.Join(g.write(ctx, stream), stream.Close())
	}
	f, err := createOutput(g.File, g.Force)
	if err != nil {
		return err
	}
	defer f.Discard()
	if err := g.write(ctx, f); err != nil {
		return err
	}
	return commitOutput(f, g.File, g.Force)
}

func (g Generate) write(ctx context.Context, w io.Writer) error {
	next, err := newDistribution(g.Distribution, g.Clients, g.Seed)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(w, 64<<10)
	rows := csv.NewWriter(buffered)
	if err := rows.Write([]string{"client_id", "message_id", "type", "payload"}); err != nil {
		return err
	}
	kind := ""
	if g.Type == "message" {
		kind = "m"
	}
	sent := make([]int32, g.Clients) // messages of each client so far
	for i := range g.Events {
		if i%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		client := next()
		sent[client]++
		n := int(sent[client])
		// Files of different seeds or types are different messages, so their ids are.
		id := fmt.Sprintf("%d-%s%d", g.Seed, kind, n)
		if err := rows.Write([]string{clientID(client), id, g.Type, g.payload(client, n)}); err != nil {
			return err
		}
	}
	rows.Flush()
	return errors.Join(rows.Error(), buffered.Flush())
}

// payload returns the payload of a client's n-th message.
func (g Generate) payload(client, n int) string {
	if g.Type == "work" {
		return workPayload(1000, n)
	}
	// Two clients share a phone: the same phone under two clients is two clients.
	phone := fmt.Sprintf("+7%010d", client/2)
	return fmt.Sprintf(`{"phone":"%s","text":"message %d"}`, phone, n)
}

// workPayload is the payload of an account's n-th event (from 1) that works for ms
// milliseconds. n is the sender's own counter, by which order can be judged.
func workPayload(ms int64, n int) string {
	return fmt.Sprintf(`{"ms":%d,"n":%d}`, ms, n)
}
