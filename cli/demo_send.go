package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	demoConnections = 64
	// How long one event may be refused before the demo gives up.
	demoPatience = 5 * time.Minute
	// After a broken connection, or where a refusal names no time.
	retryAfter    = 200 * time.Millisecond
	maxRetryAfter = 10 * time.Second
)

// sender sends events of the type work to a server.
type sender struct {
	client   Client
	ms       int64 // of each event's work
	seed     uint64
	accepted atomic.Int64
	done     chan struct{} // closed when everything is accepted
}

func newSender(client Client, work time.Duration, seed uint64) *sender {
	return &sender{client: client, ms: work.Milliseconds(), seed: seed, done: make(chan struct{})}
}

// lane is what is left to send of one account.
type lane struct {
	account   string
	next      int // counter of the event to send, from 1
	count     int
	notBefore time.Time
	refused   time.Time // since when the next event is refused; zero if it is not
}

// send sends counts[i] events of account i, over demoConnections connections at
// once and one account always over the same, so that never two requests of an
// account are in flight. The accounts take turns: the first event of each, then the
// second of each. It returns nil when all were accepted.
func (s *sender) send(ctx context.Context, counts []int) error {
	shards := make([][]lane, min(demoConnections, len(counts)))
	for i, n := range counts {
		if n > 0 {
			shard := &shards[i%len(shards)]
			*shard = append(*shard, lane{account: clientID(i), next: 1, count: n})
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// All connect before the first sends: what is measured begins with an event.
	var connected, finished sync.WaitGroup
	connected.Add(len(shards))
	for _, lanes := range shards {
		finished.Go(func() {
			client, err := s.connect(ctx)
			connected.Done()
			if err != nil {
				cancel(err)
				return
			}
			defer client.CloseIdleConnections()
			connected.Wait()
			if err := s.sendLanes(ctx, client, lanes); err != nil {
				cancel(err)
			}
		})
	}
	finished.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	close(s.done)
	return nil
}

// connect makes a client with one open connection.
func (s *sender) connect(ctx context.Context) (*http.Client, error) {
	client, err := s.client.HTTP()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.client.URL+"/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	return client, drain(resp.Body) // any answer will do
}

func (s *sender) sendLanes(ctx context.Context, client *http.Client, lanes []lane) error {
	for len(lanes) > 0 {
		rest := lanes[:0]
		tried := false
		var earliest time.Time
		for _, l := range lanes {
			if time.Now().Before(l.notBefore) {
				if earliest.IsZero() || l.notBefore.Before(earliest) {
					earliest = l.notBefore
				}
				rest = append(rest, l)
				continue
			}
			tried = true
			if err := s.sendNext(ctx, client, &l); err != nil {
				return err
			}
			if l.next <= l.count {
				rest = append(rest, l)
			}
		}
		lanes = rest
		if tried {
			continue
		}
		if err := sleep(ctx, time.Until(earliest)); err != nil {
			return err
		}
	}
	return nil
}

// sendNext sends the lane's next event once. If it was not taken, the lane keeps it
// for later; an error says that it never will be.
func (s *sender) sendNext(ctx context.Context, client *http.Client, l *lane) error {
	after, err := s.post(ctx, client, l.account, l.next)
	var again *notTaken
	switch {
	case err == nil:
		s.accepted.Add(1)
		l.next++
		l.refused = time.Time{}
		return nil
	case !errors.As(err, &again):
		return err
	}
	now := time.Now()
	if l.refused.IsZero() {
		l.refused = now
	} else if now.Sub(l.refused) > demoPatience {
		return fmt.Errorf("event %d of %s was not taken for %v: %w", l.next, l.account, demoPatience, err)
	}
	l.notBefore = now.Add(after)
	return nil
}

// notTaken is the reason why an event must be sent again, with the same id.
type notTaken struct{ err error }

func (n *notTaken) Error() string { return n.err.Error() }
func (n *notTaken) Unwrap() error { return n.err }

// post sends one event. It returns nil if the event is durable, *notTaken and a
// time to wait if it must be sent again, else what will not change.
func (s *sender) post(ctx context.Context, client *http.Client, account string, n int) (time.Duration, error) {
	body := fmt.Sprintf(`{"client_id":%q,"message_id":"%d-%d","type":"work","payload":%s}`,
		account, s.seed, n, workPayload(s.ms, n))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.client.URL+"/v1/events", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted || ctx.Err() != nil {
			return 0, err
		}
		return retryAfter, &notTaken{err}
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted:
		// The status alone says that the event is durable; a body that breaks off
		// costs a new connection.
		_ = drain(resp.Body)
		return 0, nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return wait(resp.Header.Get("Retry-After")), &notTaken{problem(resp)}
	}
	return 0, problem(resp)
}

// wait reads Retry-After (RFC 9110, section 10.2.3) where it is a number of seconds.
func wait(header string) time.Duration {
	seconds, err := strconv.Atoi(header)
	if err != nil || seconds < 0 {
		return retryAfter
	}
	return max(retryAfter, min(time.Duration(min(seconds, 3600))*time.Second, maxRetryAfter))
}

// problem returns the error of an answer with an error status (RFC 9457).
func problem(resp *http.Response) error {
	var p struct{ Title, Detail string }
	_ = json.NewDecoder(io.LimitReader(resp.Body, 16<<10)).Decode(&p) // the status says enough
	if err := drain(resp.Body); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	return errors.New(says(resp, p.Title, p.Detail))
}

// says returns a problem on one line. A title that is the status' own text stands there once.
func says(resp *http.Response, title, detail string) string {
	text := resp.Status
	if title != "" && !strings.EqualFold(title, http.StatusText(resp.StatusCode)) {
		text += ": " + title
	}
	if detail != "" {
		text += ": " + detail
	}
	return text
}

// drain reads what is left of a short answer, so that its connection can be used
// again, and closes it.
func drain(body io.ReadCloser) error {
	_, err := io.Copy(io.Discard, io.LimitReader(body, 1<<20))
	return errors.Join(err, body.Close())
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
