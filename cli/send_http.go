package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"sync"
	"time"
)

// httpSender sends one request an event. The events of a client_id are one
// connection's, which waits for the answer to each: never two are in flight.
type httpSender struct {
	send   Send
	client Client
	tally  *tally
	items  <-chan item
}

// perLane is how many events wait behind one that is being sent.
const perLane = 64

func (h *httpSender) run(ctx context.Context) error {
	client, err := h.client.HTTP()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	if t, ok := transport(client); ok {
		t.MaxIdleConnsPerHost = h.send.Connections
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lanes := make([]chan item, h.send.Connections)
	var sending sync.WaitGroup
	for i := range lanes {
		lanes[i] = make(chan item, perLane)
		sending.Go(func() {
			for it := range lanes[i] {
				if ctx.Err() != nil || h.tally.skip(it) {
					continue
				}
				if err := h.one(ctx, client, it); err != nil {
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

func transport(c *http.Client) (*http.Transport, bool) {
	switch t := c.Transport.(type) {
	case *http.Transport:
		return t, true
	case *authorised:
		return t.Transport, true
	}
	return nil, false
}

// one sends an event until it is taken or refused. An error ends everything.
func (h *httpSender) one(ctx context.Context, client *http.Client, it item) error {
	for {
		after, err := h.try(ctx, client, it)
		again, ok := errors.AsType[*notTaken](err)
		if !ok {
			return err
		}
		if h.tally.trouble(again) > h.send.Patience {
			return fmt.Errorf("nothing was taken for %v: %w", h.send.Patience, again)
		}
		if err := sleep(ctx, after); err != nil {
			return context.Cause(ctx)
		}
	}
}

// try sends an event once. *notTaken says that it must be sent again, after a while.
func (h *httpSender) try(ctx context.Context, client *http.Client, it item) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.client.URL+"/v1/events", bytes.NewReader(it.body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	switch _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); {
	case untrusted || ctx.Err() != nil:
		return 0, err
	case err != nil:
		return retryAfter, &notTaken{err}
	}
	switch {
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted:
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err := errors.Join(err, drain(resp.Body)); err != nil {
			return retryAfter, &notTaken{err}
		}
		_, duplicate := receipt(body)
		h.tally.taken(duplicate)
		return 0, nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return wait(resp.Header.Get("Retry-After")), &notTaken{problem(resp)}
	case isPlain(resp):
		return 0, errors.Join(errPlain, drain(resp.Body))
	case resp.StatusCode == http.StatusUnauthorized:
		return 0, problem(resp) // so would be all others
	}
	h.tally.refused(it, problem(resp).Error())
	return 0, nil
}
