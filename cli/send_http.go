package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"sync"

	"inturn/client"
)

// httpSender sends one request an event. The events of a client_id are one
// connection's, which waits for the answer to each: never two are in flight.
type httpSender struct {
	connections int
	client      *client.Client
	tally       *tally
	items       <-chan item
}

// perLane is how many events wait behind one that is being sent.
const perLane = 64

func (h *httpSender) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lanes := make([]chan item, h.connections)
	var sending sync.WaitGroup
	for i := range lanes {
		lanes[i] = make(chan item, perLane)
		sending.Go(func() {
			for it := range lanes[i] {
				if ctx.Err() != nil || h.tally.skip(it) {
					continue
				}
				if err := h.one(ctx, it); err != nil {
					cancel(fmt.Errorf("line %d: %w", it.line, err))
				}
			}
		})
	}
	seed := maphash.MakeSeed()
	for it := range h.items {
		select {
		case lanes[maphash.String(seed, it.clientID)%uint64(len(lanes))] <- it:
			continue
		case <-ctx.Done():
		}
		break
	}
	for _, lane := range lanes {
		close(lane)
	}
	sending.Wait()
	return context.Cause(ctx)
}

// one sends an event until it is taken or refused. An error ends everything.
func (h *httpSender) one(ctx context.Context, it item) error {
	r, err := h.client.Post(ctx, client.Event{ClientID: it.clientID, MessageID: it.messageID, Body: it.body})
	p, refused := errors.AsType[*client.Problem](err)
	switch {
	case err == nil:
		h.tally.taken(r.Duplicate)
	case !refused || p.Temporary() || p.Status == http.StatusUnauthorized: // so would be all others
		return err
	default:
		h.tally.refused(it, p.Error())
	}
	return nil
}

func transport(c *http.Client) (*http.Transport, bool) {
	switch t := c.Transport.(type) {
	case *http.Transport:
		return t, true
	case *authorised:
		return t.Transport, true
	}
	return nil, false
}
